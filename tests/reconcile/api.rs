//! An API server in memory: enough of Kubernetes for the operator's requests, with resourceVersions, conflicts, field
//! owners, finalizers and foreground deletion.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};

/// Collection (`/apis/batch/v1/namespaces/<ns>/jobs`) and name.
type Key = (String, String);

/// What is stored, and what has happened.
#[derive(Default)]
pub struct Api {
    pub objects: BTreeMap<Key, Value>,
    /// Which top-level status fields a manager has applied.
    owners: BTreeMap<(Key, String), BTreeSet<String>>,
    pub version: u64,
    /// Names of Jobs in the order of their creation, deleted ones included.
    pub jobs_made: Vec<String>,
    /// Answers 403 `NamespaceTerminating` to every create.
    pub terminating: bool,
    /// Answers 403 with these words to every create of a Job.
    pub quota: Option<String>,
    /// `method path` of each request that changed something.
    pub writes: Vec<String>,
    pub now: String,
}

/// A parsed request.
struct Target {
    collection: String,
    name: Option<String>,
    status: bool,
    query: BTreeMap<String, String>,
}

impl Api {
    /// An empty cluster at this time.
    pub fn at(now: String) -> Self {
        Self { now, ..Self::default() }
    }

    pub fn answer(&mut self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        let target = Target::of(request.uri());
        let body: Value = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        let before = self.version;
        let answer = match (request.method(), &target.name) {
            (&Method::GET, Some(name)) => self.get(&target.collection, name),
            (&Method::GET, None) => Ok(self.list(&target)),
            (&Method::POST, _) => self.create(&target.collection, body),
            (&Method::PATCH, Some(name)) => self.apply(&target, name, &body),
            (&Method::DELETE, Some(name)) => self.delete(&target.collection, name, &body),
            (method, _) => panic!("{method} {} is not expected", request.uri()),
        };
        if self.version != before {
            let body = String::from_utf8_lossy(request.body());
            self.writes.push(format!("{} {} {body}", request.method(), request.uri().path()));
        }
        let (code, value) = match answer {
            Ok(value) => (StatusCode::OK, value),
            Err(refusal) => {
                (StatusCode::from_u16(u16::try_from(refusal["code"].as_u64().unwrap()).unwrap()).unwrap(), refusal)
            }
        };
        Response::builder().status(code).body(serde_json::to_vec(&value).unwrap()).unwrap()
    }

    fn get(&self, collection: &str, name: &str) -> Result<Value, Value> {
        let found = self.objects.get(&(collection.into(), name.into()));
        found.cloned().ok_or_else(|| refusal(404, "NotFound", &format!("{collection} {name} not found")))
    }

    fn list(&self, target: &Target) -> Value {
        let kind = target.collection.rsplit('/').next().unwrap();
        let all_namespaces = !target.collection.contains("/namespaces/");
        let group = target.collection.rsplit_once('/').unwrap().0;
        let in_scope = |collection: &str| {
            collection == target.collection
                || all_namespaces && collection.starts_with(group) && collection.ends_with(&format!("/{kind}"))
        };
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|((collection, _), _)| in_scope(collection))
            .map(|(_, object)| object)
            .filter(|o| target.selects(o))
            .collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }

    fn create(&mut self, collection: &str, mut object: Value) -> Result<Value, Value> {
        if collection.ends_with("/events") {
            object["metadata"]["name"] = json!("event");
            return Ok(object);
        }
        if self.terminating {
            let mut no =
                refusal(403, "Forbidden", "unable to create new content because the namespace is being terminated");
            no["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "message": "namespace is being terminated", "field": "metadata.namespace"}]});
            return Err(no);
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if let Some(words) = self.quota.as_ref().filter(|_| collection.ends_with("/jobs")) {
            return Err(refusal(403, "Forbidden", words));
        }
        let key = (collection.to_owned(), name.clone());
        if self.objects.contains_key(&key) {
            return Err(refusal(409, "AlreadyExists", &format!("{name} already exists")));
        }
        if collection.ends_with("/jobs") {
            self.jobs_made.push(name);
        }
        self.put(key, object)
    }

    /// Stores a new object, as the API server completes it.
    pub fn put(&mut self, key: Key, mut object: Value) -> Result<Value, Value> {
        self.version += 1;
        let uid = format!("00000000-0000-4000-8000-{:012}", self.version);
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.entry("uid").or_insert(json!(uid));
        meta.entry("creationTimestamp").or_insert(json!(self.now));
        meta.entry("generation").or_insert(json!(1));
        meta.insert("resourceVersion".into(), json!(self.version.to_string()));
        self.objects.insert(key, object.clone());
        Ok(object)
    }

    /// Changes an object behind everybody's back: users, kubelets and controllers of Kubernetes.
    pub fn edit(&mut self, collection: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(object) = self.objects.get_mut(&(collection.to_owned(), name.to_owned())) else { return };
        let before = object.clone();
        change(object);
        if *object != before {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        self.collect(collection, name);
    }

    fn apply(&mut self, target: &Target, name: &str, body: &Value) -> Result<Value, Value> {
        if target.collection.ends_with("/events") {
            return Ok(body.clone());
        }
        let key = (target.collection.clone(), name.to_owned());
        let manager = target.query["fieldManager"].clone();
        assert!(!target.query.contains_key("force"), "nothing is applied with force");
        let current = self.get(&target.collection, name)?;
        let meta = &body["metadata"];
        if meta["uid"].is_string() && meta["uid"] != current["metadata"]["uid"] {
            return Err(refusal(422, "Invalid", "metadata.uid: field is immutable"));
        }
        if meta["resourceVersion"].is_string() && meta["resourceVersion"] != current["metadata"]["resourceVersion"] {
            return Err(refusal(409, "Conflict", "the object has been modified"));
        }
        assert!(meta["resourceVersion"].is_string(), "a write that does not say which state it was decided on");
        let mut next = current.clone();
        if target.status {
            self.apply_status(&key, &manager, &mut next, &body["status"])?;
        } else {
            next["metadata"]["finalizers"] = meta["finalizers"].clone();
        }
        if next != current {
            self.version += 1;
            next["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.objects.insert(key, next.clone());
            self.collect(&target.collection, name);
        }
        Ok(next)
    }

    fn apply_status(&mut self, key: &Key, manager: &str, next: &mut Value, sent: &Value) -> Result<(), Value> {
        let sent = sent.as_object().unwrap();
        let fields: BTreeSet<String> = sent.keys().cloned().collect();
        for ((other, who), owned) in &self.owners {
            let taken = other == key && who != manager && owned.intersection(&fields).next().is_some();
            if taken {
                return Err(refusal(409, "Conflict", &format!("Apply failed: conflict with {who}")));
            }
        }
        let attempt = |v: &Value| v["attempt"].as_i64().unwrap_or_default();
        if attempt(&Value::Object(sent.clone())) < attempt(&next["status"]) && sent.contains_key("attempt") {
            return Err(refusal(422, "Invalid", "attempt never goes back"));
        }
        if !next["status"].is_object() {
            next["status"] = Value::Object(Map::new());
        }
        let status = next["status"].as_object_mut().unwrap();
        let before = self.owners.insert((key.clone(), manager.to_owned()), fields).unwrap_or_default();
        for gone in before.iter().filter(|f| !sent.contains_key(*f)) {
            status.remove(gone);
        }
        status.extend(sent.clone());
        Ok(())
    }

    fn delete(&mut self, collection: &str, name: &str, body: &Value) -> Result<Value, Value> {
        let current = self.get(collection, name)?;
        let uid = &body["preconditions"]["uid"];
        if uid.is_string() && *uid != current["metadata"]["uid"] {
            return Err(refusal(409, "Conflict", "the UID in the precondition does not match"));
        }
        assert_eq!(body["propagationPolicy"], "Foreground", "a Pod must not outlive its Job");
        let now = self.now.clone();
        self.edit(collection, name, |o| {
            o["metadata"]["deletionTimestamp"] = json!(now);
            o["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        });
        Ok(current)
    }

    /// Marks an object as deleted, as a user's delete does.
    pub fn mark_deleted(&mut self, collection: &str, name: &str) {
        let now = self.now.clone();
        self.edit(collection, name, |o| o["metadata"]["deletionTimestamp"] = json!(now));
    }

    /// Removes an object that is deleted and held by nobody.
    fn collect(&mut self, collection: &str, name: &str) {
        let key = (collection.to_owned(), name.to_owned());
        let Some(object) = self.objects.get(&key) else { return };
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if object["metadata"]["deletionTimestamp"].is_string() && !held {
            self.version += 1;
            self.objects.remove(&key);
        }
    }
}

impl Target {
    fn of(uri: &http::Uri) -> Self {
        let query = uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty());
        let pair = |p: &str| {
            let (key, value) = p.split_once('=').unwrap_or((p, ""));
            (key.to_owned(), decoded(value))
        };
        let mut parts: Vec<&str> = uri.path().trim_start_matches('/').split('/').collect();
        let status = parts.last() == Some(&"status");
        if status {
            parts.pop();
        }
        // /api/v1/… has two parts before the resource, /apis/<group>/<version>/… three; a namespace takes two more.
        let root = if parts[0] == "api" { 2 } else { 3 };
        let resource = if parts.get(root) == Some(&"namespaces") && parts.len() > root + 2 { root + 2 } else { root };
        let name = parts.get(resource + 1).map(|n| (*n).to_owned());
        Self {
            collection: format!("/{}", parts[..=resource].join("/")),
            name,
            status,
            query: query.map(pair).collect(),
        }
    }

    fn selects(&self, object: &Value) -> bool {
        let labels = self.query.get("labelSelector").into_iter().flat_map(|s| s.split(','));
        let labelled = labels.filter_map(|p| p.split_once('=')).all(|(k, v)| object["metadata"]["labels"][k] == v);
        let fields = self.query.get("fieldSelector").into_iter().flat_map(|s| s.split(','));
        let has = |(path, v): (&str, &str)| path.split('.').fold(object, |o, part| &o[part]) == v;
        labelled && fields.filter_map(|p| p.split_once('=')).all(has)
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex: Vec<u8> = bytes.by_ref().take(2).collect();
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).unwrap()
}

fn refusal(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": message, "code": code})
}
