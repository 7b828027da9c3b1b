//! The file that makes a place that of one restore.

use bytes::Bytes;

use super::{
    Failure, Key, Objects, Problem,
    catalog::{CATALOG_MAX, damaged, parse, small},
};
use crate::plan::Restored;

/// What the place says about itself, if it says anything.
pub async fn read(objects: &dyn Objects) -> Result<Option<Restored>, Failure> {
    let key = Key::restored();
    small(objects, &key, CATALOG_MAX).await?.map(|content| parse(&key, &content)).transpose()
}

/// Takes an empty place for a restore. The answer is what is there then: it can be that of another one, who was faster.
pub async fn begin(objects: &dyn Objects, wanted: &Restored) -> Result<Restored, Failure> {
    let (key, body) = (Key::restored(), bytes(wanted)?);
    let created = match objects.create(&key, body.clone()).await {
        // A file system without hard links; the place was empty a moment ago.
        Err(e) if e.problem == Problem::Unsupported => objects.put(&key, body).await,
        outcome => outcome,
    };
    // Whatever the reply was, what is there now counts.
    match (read(objects).await?, created) {
        (Some(found), _) => Ok(found),
        (None, Err(e)) => Err(e.into()),
        (None, Ok(())) => Err(damaged(&key, "it vanished after it was written")),
    }
}

/// Says that everything is in place.
pub async fn finish(objects: &dyn Objects, done: &Restored) -> Result<(), Failure> {
    Ok(objects.put(&Key::restored(), bytes(done)?).await?)
}

fn bytes(restored: &Restored) -> Result<Bytes, Failure> {
    let body = serde_json::to_vec(restored).map_err(|e| damaged(&Key::restored(), e.to_string()))?;
    Ok(body.into())
}
