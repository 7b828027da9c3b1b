//! Where a MatrixOne cluster is reached. Pure.

use super::seen::Named;
use crate::api::{Address, Cluster, Reason};

/// Why the address of a cluster is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It may be known later, without a change of the object.
    Passing(Reason, String),
    /// The spec says nothing, or two things.
    Invalid(String),
}

/// Where the cluster is that a spec names: its address, or that of the MatrixOneCluster that was looked at for it.
///
/// # Errors
/// When it is not known.
pub fn address(cluster: &Cluster, named: &Named) -> Result<Address, Unknown> {
    let name = match (&cluster.address, &cluster.matrix_one_cluster) {
        (Some(address), None) => return Ok(address.clone()),
        (None, Some(named)) => &named.name,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Unknown::Invalid(
                "exactly one of address and matrixOneCluster says where the cluster is".into(),
            ));
        }
    };
    let (reason, what) = match named {
        Named::At(address) => return Ok(address.clone()),
        Named::UnknownKind => {
            let what = "Kubernetes does not know the kind MatrixOneCluster: matrixone-operator is not installed";
            (Reason::ClusterNotFound, what.to_owned())
        }
        Named::Missing => (Reason::ClusterNotFound, format!("there is no MatrixOneCluster {name} in this namespace")),
        Named::NotReady | Named::NotLookedAt => {
            (Reason::ClusterNotReady, format!("MatrixOneCluster {name} has no host and port in its status yet"))
        }
    };
    Err(Unknown::Passing(reason, format!("{what}. {}", reason.remedy())))
}
