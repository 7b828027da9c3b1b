//! How a worker tells the cluster what it does: patches of the status of its own object.

use std::time::Duration;

use async_trait::async_trait;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;

use crate::{
    api,
    task::{PROVER_MANAGER, Subject, WORKER_MANAGER},
};

/// Limit of one patch.
const PATCH: Duration = Duration::from_secs(10);

/// A status that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// Another run has taken over, or the object is gone: this worker must stop.
    #[error("failed to report: {0}")]
    Superseded(String),
    /// Another try can help.
    #[error("failed to report for now: {0}")]
    Later(String),
    /// The API server refuses what we say.
    #[error("failed to report: refused: {0}")]
    Refused(String),
}

/// Takes a worker's whole status: what is left out is removed.
#[async_trait]
pub trait Reporter: Send + Sync {
    /// Sends the status once.
    async fn send(&self, status: &Value) -> Result<(), Untold>;
}

/// Reports by server-side apply.
pub struct Kubernetes {
    objects: Api<DynamicObject>,
    resource: ApiResource,
    subject: Subject,
    proves: bool,
}

impl Kubernetes {
    /// Reports to the object of this kind, in the cluster that the client knows.
    #[must_use]
    pub fn new(client: Client, kind: &str, subject: Subject) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(api::GROUP, api::VERSION, kind));
        let objects = Api::namespaced_with(client, &subject.namespace, &resource);
        Self { objects, resource, subject, proves: false }
    }

    /// Reports to `status.proof`, and leaves `status.report` to the worker that wrote it.
    #[must_use]
    pub fn of_a_proof(self) -> Self {
        Self { proves: true, ..self }
    }

    /// What is applied, and as whom.
    fn patch(&self, status: &Value) -> (PatchParams, Value) {
        if !self.proves {
            return (PatchParams::apply(WORKER_MANAGER), status.clone());
        }
        let fields = status.as_object().into_iter().flatten();
        let named =
            fields.map(|(name, value)| (if name == "report" { "proof" } else { name }.to_owned(), value.clone()));
        // By force: the progress is the restoring worker's, which is over.
        (PatchParams::apply(PROVER_MANAGER).force(), named.collect())
    }

    fn of_this_run(&self, object: &DynamicObject) -> Result<(), Untold> {
        let superseded = |what: &str| Err(Untold::Superseded(what.into()));
        if object.metadata.uid.as_deref() != Some(self.subject.uid.as_str()) {
            return superseded("the object was deleted and made again");
        }
        // The fence of the API server guards the report; a progress is answered with the run that counts.
        match object.data["status"]["run"].as_str() {
            Some(run) if run == self.subject.run => Ok(()),
            Some(run) => superseded(&format!("run {run} has taken over")),
            None => superseded("the object has no run"),
        }
    }
}

#[async_trait]
impl Reporter for Kubernetes {
    async fn send(&self, status: &Value) -> Result<(), Untold> {
        let (params, status) = self.patch(status);
        let body = serde_json::json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": { "name": self.subject.name, "namespace": self.subject.namespace },
            "status": status,
        });
        let patch = Patch::Apply(&body);
        let patch = self.objects.patch_status(&self.subject.name, &params, &patch);
        match tokio::time::timeout(PATCH, patch).await {
            Ok(Ok(object)) => self.of_this_run(&object),
            Ok(Err(error)) => Err(judge(&error)),
            Err(_) => Err(Untold::Later(format!("no answer within {} seconds", PATCH.as_secs()))),
        }
    }
}

/// What a refusal means. 404: the object is gone; 422 with the text of the fence: another run has taken over.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever is no answer of the API server may pass")]
pub(super) fn judge(error: &kube::Error) -> Untold {
    match error {
        kube::Error::Api(status) => {
            let text = format!("{} {}", status.code, status.message);
            match status.code {
                404 => Untold::Superseded("the object is gone".into()),
                422 if status.message.contains("belongs to another run") => Untold::Superseded(text),
                400 | 403 | 415 | 422 => Untold::Refused(text),
                500 if status.message.contains("field not declared in schema") => Untold::Refused(text),
                _ => Untold::Later(text),
            }
        }
        other => Untold::Later(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use rstest::rstest;

    use super::*;

    fn subject() -> Subject {
        Subject { namespace: "ns".into(), name: "nightly".into(), uid: "u".into(), attempt: 2, run: "u-2".into() }
    }

    async fn answer(status: u16, body: Value) -> (Result<(), Untold>, String) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let reporter = Kubernetes::new(Client::new(service, "ns"), "Backup", subject());
        let server = tokio::spawn(async move {
            let (request, respond) = handle.next_request().await.unwrap();
            let seen = format!("{} {}", request.method(), request.uri());
            respond.send_response(
                Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap(),
            );
            seen
        });
        let result = reporter.send(&serde_json::json!({"progress": {"run": "u-2"}})).await;
        (result, server.await.unwrap())
    }

    fn object(uid: &str, run: &str) -> Value {
        serde_json::json!({
            "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
            "metadata": {"name": "nightly", "namespace": "ns", "uid": uid}, "status": {"run": run},
        })
    }

    #[tokio::test]
    async fn a_status_is_applied_to_the_subresource() {
        let (result, seen) = answer(200, object("u", "u-2")).await;
        assert_eq!(result, Ok(()));
        assert_eq!(
            seen,
            "PATCH /apis/mo-backup.io/v1alpha1/namespaces/ns/backups/nightly/status?&fieldManager=mo-backup-worker"
        );
    }

    #[rstest]
    #[case("other", "u-2")]
    #[case("u", "u-3")]
    #[tokio::test]
    async fn another_object_or_run_ends_this_worker(#[case] uid: &str, #[case] run: &str) {
        assert!(matches!(answer(200, object(uid, run)).await.0, Err(Untold::Superseded(_))));
    }

    #[rstest]
    #[case(404, "not found", "superseded")]
    #[case(422, "Backup.mo-backup.io \"b\" is invalid: status: this report belongs to another run", "superseded")]
    #[case(422, "spec: invalid", "refused")]
    #[case(403, "forbidden", "refused")]
    #[case(500, ".status.nonsense: field not declared in schema", "refused")]
    #[case(500, "etcd is gone", "later")]
    #[case(429, "slow down", "later")]
    #[case(409, "conflict", "later")]
    #[tokio::test]
    async fn refusals_are_told_apart(#[case] code: u16, #[case] message: &str, #[case] expected: &str) {
        let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, "reason": "x"});
        let told = match answer(code, body).await.0 {
            Ok(()) => "taken",
            Err(Untold::Superseded(_)) => "superseded",
            Err(Untold::Later(_)) => "later",
            Err(Untold::Refused(_)) => "refused",
        };
        assert_eq!(told, expected);
    }
}
