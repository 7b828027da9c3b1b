//! What MatrixOne's own tool reads of a backup beside its files is checked as well: `<name>.sha256`.

use mo_backup::{
    api::Format,
    plan::Framing,
    task::Choice,
    worker::{Checked, Depth},
};
use rstest::rstest;
use sha2::{Digest as _, Sha256};

use super::{
    check::run,
    repository::stored,
    rig::{Rig, assert_done},
};

const CONFIG: &str = "config/cn.toml_01a1fb9e-2560-7b91-9479-9d72d684aabd";
const FILES: [&str; 5] = ["mo_meta", CONFIG, "hakeeper/hk_data", "tae/tae_list", "tae/tae_sum"];

fn key(rig: &Rig, path: &str) -> String {
    format!("data/{}/1/{path}.sha256", rig.incremental.id)
}

fn framed(framing: Framing, path: &str) -> Framing {
    if path.contains("tae/") || path.contains("hakeeper/") { framing } else { Framing::Raw }
}

/// A repository with the companions that MatrixOne writes.
async fn rig(framing: Framing) -> Rig {
    let rig = Rig::new(framing, Format::Raw).await;
    for path in FILES {
        let digest = Sha256::digest(&rig.trees[1][path]);
        rig.source.set(&key(&rig, path), stored(framed(framing, path), &digest));
    }
    rig
}

async fn checked(rig: &Rig) -> Checked {
    run(rig, Choice::Id(rig.incremental.id), Depth::Content).await.unwrap()
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn a_damaged_companion_is_named(
    #[values(Framing::Raw, Framing::Crc2048)] framing: Framing,
    #[values("mo_meta", CONFIG, "hakeeper/hk_data", "tae/tae_list", "tae/tae_sum")] path: &str,
) {
    let whole = rig(framing).await;
    let good = checked(&whole).await;
    assert_eq!((good.faults, &good.first[..]), (0, &[][..]));
    let other = stored(framed(framing, path), &[7; 32]);
    let unframed = stored(
        if framing == Framing::Raw { Framing::Crc2048 } else { Framing::Raw },
        &Sha256::digest(&whole.trees[1][path]),
    );
    let mut damages = vec![None, Some("x".into()), Some(vec![1; 100].into()), Some(other)];
    if framed(framing, path) == framing {
        damages.push(Some(unframed));
    }
    for damage in damages {
        let rig = whole.fresh();
        match &damage {
            Some(content) => rig.source.set(&key(&rig, path), bytes::Bytes::clone(content)),
            None => assert!(rig.source.unset(&key(&rig, path))),
        }
        let found = checked(&rig).await;
        assert_eq!((found.faults, found.objects), (1, good.objects), "{damage:?}: {:?}", found.first);
        assert!(found.first[0].starts_with(&key(&rig, path)), "{damage:?}: {:?}", found.first);
        // A restore needs none of them.
        assert_done(&rig.run(&rig.task(Choice::Id(rig.incremental.id))).await);
    }
}

/// Not what MatrixOne has written, and complete all the same: `rsync --exclude '*.sha256'`.
#[tokio::test(start_paused = true)]
async fn a_backup_without_any_companion_is_not_damaged() {
    let rig = Rig::new(Framing::Raw, Format::Raw).await;
    assert_eq!(checked(&rig).await.faults, 0);
}
