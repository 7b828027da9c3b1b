//! The server that is proven, as each of its users sees it.

use std::sync::Arc;

use super::Files;
use crate::{
    task::ProofTask,
    worker::{Failure, Login, ProofPorts},
};

impl Files {
    /// What a proof works with. Nobody is asked yet: the server need not run.
    pub fn proof_ports(&self, task: &ProofTask) -> Result<ProofPorts, Failure> {
        let server = Arc::new(self.server(&task.cluster)?);
        let mut logins = Vec::new();
        for (number, secret) in task.logins.iter().enumerate() {
            let files = Self { sql: self.accounts.join(number.to_string()), ..self.clone() };
            let named = |failure: Failure| Failure { detail: format!("{} ({secret})", failure.detail), ..failure };
            let server = Arc::new(files.server(&task.cluster).map_err(named)?);
            logins.push(Login { secret: secret.clone(), server });
        }
        Ok(ProofPorts { server, logins })
    }
}
