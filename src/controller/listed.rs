//! Objects as lists and watches show them, without the bookkeeping of others, which no decision looks at. A server sends it
//! with every object, and decoded it takes several times what the rest takes: it is skipped as it is read, so that a page of
//! a list never holds it.

use std::{borrow::Cow, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// What kubectl leaves on what it has applied: a second copy of the spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object of a list or a watch. One that cannot be decoded does not take the others with it.
#[derive(Clone, Debug)]
pub struct Listed<K>(pub Result<K, Undecodable>);

/// Why an object could not be decoded.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "failed to decode {}/{}: {error}",
    metadata.namespace.as_deref().unwrap_or_default(),
    metadata.name.as_deref().unwrap_or_default()
)]
pub struct Undecodable {
    /// The field, and what is wrong with it.
    pub error: String,
    /// Which object it is, as far as that can be read.
    pub metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Listed<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Part::Object.deserialize(deserializer)?;
        Ok(Self(K::deserialize(&object).map_err(|error| Undecodable {
            error: error.to_string(),
            metadata: ObjectMeta::deserialize(&object["metadata"]).unwrap_or_default(),
        })))
    }
}

impl<K: Resource> Resource for Listed<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|undecodable| &undecodable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|undecodable| &mut undecodable.metadata, K::meta_mut)
    }
}

/// A part of an object that is not taken as it comes.
#[derive(Clone, Copy)]
enum Part {
    Object,
    Metadata,
    Annotations,
}

impl Part {
    fn leaves_out(self, field: &str) -> bool {
        match self {
            Self::Object => false,
            Self::Metadata => field == "managedFields",
            Self::Annotations => field == LAST_APPLIED,
        }
    }

    fn below(self, field: &str) -> Option<Self> {
        match self {
            Self::Object => (field == "metadata").then_some(Self::Metadata),
            Self::Metadata => (field == "annotations").then_some(Self::Annotations),
            Self::Annotations => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(field) = fields.next_key::<String>()? {
            if self.leaves_out(&field) {
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = match self.below(&field) {
                Some(part) => fields.next_value_seed(part)?,
                None => fields.next_value()?,
            };
            kept.insert(field, value);
        }
        Ok(Value::Object(kept))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Backup;

    fn object(noted: bool) -> Value {
        let mut object = json!({
            "apiVersion": "mo-backup.io/v1alpha1", "kind": "Backup",
            "metadata": {"name": "b", "namespace": "ns", "resourceVersion": "7", "annotations": {"mo-backup.io/retry": "x"},
                "labels": {"managedFields": "a label of that name stays"}},
            "spec": {"cluster": {"address": {"host": "mo"}, "credentialsSecret": {"name": "s"}}, "storage": "st"},
            "status": {"phase": "Completed", "attempt": 1}
        });
        if noted {
            object["metadata"]["annotations"][LAST_APPLIED] = json!("{}");
            object["metadata"]["managedFields"] =
                json!([{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}]);
        }
        object
    }

    fn listed(object: &Value) -> Listed<Backup> {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn what_others_note_is_left_out_and_nothing_else() {
        let whole: Backup = serde_json::from_value(object(false)).unwrap();
        let text = |backup: Backup| serde_json::to_value(backup).unwrap();
        assert_eq!(text(listed(&object(true)).0.unwrap()), text(whole));
    }

    #[test]
    fn an_object_that_cannot_be_decoded_says_which_it_is() {
        let mut odd = object(true);
        odd["spec"]["parallelism"] = json!("many");
        let odd = listed(&odd);
        assert_eq!(odd.meta().name.as_deref(), Some("b"));
        let said = odd.0.unwrap_err().to_string();
        assert!(said.starts_with("failed to decode ns/b: invalid type: string \"many\""), "{said}");
        let empty = listed(&json!({"metadata": null}));
        assert_eq!(empty.meta().name, None);
        assert!(empty.0.is_err());
    }
}
