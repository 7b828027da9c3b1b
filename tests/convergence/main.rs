//! Random worlds: views that are old by the time they are acted on, crashes after any number of writes, workers that
//! fail, Jobs that vanish with their Pods alive, nodes that are lost, people who change their minds, a namespace that
//! dies. What must always hold is checked after each move; then a kind world must bring everything to rest.

mod model;

use jiff::Timestamp;
use mo_backup::{
    api::{BackupPhase, Reason, RunStatus},
    controller::{
        backup::{Observed, decide},
        decision::{Effect, Kind as _, Written},
    },
};
use model::{Model, deleted};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Move {
    Look(usize),
    /// Decide on the last view; the process ends after so many writes. The view may be used again (a second operator).
    Act(usize, usize, bool),
    LookAndAct(usize),
    Kubernetes(usize, bool),
    Vandal(usize),
    LoseNode(usize),
    Cancel(usize, u8),
    Retry(usize, u8),
    Suspend(usize, bool),
    Hold(usize, bool),
    Retain(usize),
    Delete(usize),
    Terminate(usize),
    Pass(u64),
}

fn a_move() -> impl Strategy<Value = Move> {
    let which = 0..2_usize;
    prop_oneof![
        8 => which.clone().prop_map(Move::Look),
        8 => (which.clone(), 0..6_usize, any::<bool>()).prop_map(|(at, steps, keep)| Move::Act(at, steps, keep)),
        16 => which.clone().prop_map(Move::LookAndAct),
        8 => (which.clone(), any::<bool>()).prop_map(|(at, well)| Move::Kubernetes(at, well)),
        4 => which.clone().prop_map(Move::Vandal),
        2 => which.clone().prop_map(Move::LoseNode),
        1 => (which.clone(), any::<u8>()).prop_map(|(at, token)| Move::Cancel(at, token)),
        2 => (which.clone(), any::<u8>()).prop_map(|(at, token)| Move::Retry(at, token)),
        1 => (which.clone(), any::<bool>()).prop_map(|(at, on)| Move::Suspend(at, on)),
        1 => (which.clone(), any::<bool>()).prop_map(|(at, on)| Move::Hold(at, on)),
        1 => which.clone().prop_map(Move::Retain),
        1 => which.clone().prop_map(Move::Delete),
        1 => which.prop_map(Move::Terminate),
        10 => prop_oneof![Just(1_u64), Just(15), Just(90), Just(700), Just(4000)].prop_map(Move::Pass),
    ]
}

fn apply(model: &mut Model, a_move: &Move) {
    let annotate = |model: &mut Model, at: usize, verb: &str, token: u8| {
        let key = format!("mo-backup.io/{verb}");
        model.person(at, |b| drop(b.metadata.annotations.get_or_insert_default().insert(key, token.to_string())));
    };
    match a_move {
        Move::Look(at) => model.look(*at),
        Move::Act(at, steps, keep) => model.act(*at, *steps, *keep),
        Move::LookAndAct(at) => {
            model.look(*at);
            model.act(*at, usize::MAX, false);
        }
        Move::Kubernetes(at, well) => model.kubernetes(*at, *well),
        Move::Vandal(at) => model.vandal(*at),
        Move::LoseNode(at) => model.lose_node(*at),
        Move::Cancel(at, token) => annotate(model, *at, "cancel", *token),
        Move::Retry(at, token) => annotate(model, *at, "retry", *token),
        Move::Suspend(at, on) => model.person(*at, |b| b.spec.suspend = *on),
        Move::Hold(at, on) => model.person(*at, |b| b.spec.hold = *on),
        Move::Retain(at) => model.person(*at, |b| b.spec.deletion_policy = mo_backup::api::DeletionPolicy::Retain),
        Move::Delete(at) => {
            let now = model.now;
            model.person(*at, |b| deleted(b, now));
        }
        Move::Terminate(at) => model.things[*at].terminating = true,
        Move::Pass(seconds) => model.pass(*seconds),
    }
}

/// What must hold at every moment.
fn invariants(model: &Model) {
    let mut at_work = 0;
    for thing in &model.things {
        assert!(thing.live().len() <= 1, "two live workers of one object: {:?}", thing.live());
        at_work += thing.jobs.iter().filter(|j| j.end.is_none() && !j.name.contains("-purge-")).count();
        let status = thing.status();
        let tried = status.run.attempt - status.run.first_attempt.unwrap_or(1) + 1;
        let deleting = thing.backup.metadata.deletion_timestamp.is_some();
        assert!(deleting || tried <= thing.backup.spec.retry.limit + 1, "{tried} attempts");
        match status.phase {
            Some(BackupPhase::Completed) => assert!(thing.committed, "Completed without a manifest"),
            Some(BackupPhase::Failed) => {
                let reason = status.run.conditions.iter().find(|c| c.type_ == "Failed").unwrap();
                let permanent = Reason::parse(&reason.reason).unwrap().is_permanent();
                assert!(permanent || tried > thing.backup.spec.retry.limit, "Failed too early: {reason:?}");
            }
            None
            | Some(
                BackupPhase::Pending
                | BackupPhase::Queued
                | BackupPhase::Running
                | BackupPhase::Retrying
                | BackupPhase::Suspended
                | BackupPhase::Deleting,
            ) => {}
        }
        assert_eq!(
            status.run.end_time.is_some() && !deleting,
            matches!(status.phase, Some(BackupPhase::Completed | BackupPhase::Failed)) && !deleting
        );
    }
    assert!(at_work <= 1, "two backups of one MatrixOne cluster at once");
}

/// Decides, and writes the status.
fn written(seen: &mut Observed, now: Timestamp) -> Written<BackupPhase> {
    let decision = decide(seen, now);
    let status = seen.backup.status.get_or_insert_default();
    status.phase = decision.status.phase;
    status.run = decision.status.run.clone();
    let own = seen.backup.metadata.uid.clone();
    seen.others.retain(|t| Some(&t.uid) != own.as_ref());
    decision.status
}

/// A status that has just been written is what would be written again.
fn nothing_flaps(model: &Model) {
    for at in 0..model.things.len() {
        if model.things[at].gone {
            continue;
        }
        let mut seen = model.observe(at);
        let ordered = |run: &RunStatus| run.attempts.last().is_some_and(|a| a.reason.is_some() && a.end_time.is_none());
        let before = seen.backup.status.as_ref().is_some_and(|s| ordered(&s.run));
        let mut first = written(&mut seen, model.now);
        if ordered(&first.run) && !before {
            // The order to give up is on record before it is carried out: that is a look of its own.
            first = written(&mut seen, model.now);
        }
        assert_eq!(written(&mut seen, model.now), first, "deciding twice changes nothing");
    }
}

/// Nothing fails any more, everybody lets go, and time passes.
fn kind_world(model: &mut Model) {
    for at in 0..2 {
        model.person(at, |b| {
            b.spec.suspend = false;
            b.spec.hold = false;
        });
    }
    for round in 0..300 {
        let before: Vec<_> =
            model.things.iter().map(|t| (t.backup.clone(), t.gone, t.jobs.clone(), t.pods.clone())).collect();
        for at in 0..2 {
            model.look(at);
            model.act(at, usize::MAX, false);
            invariants(model);
            model.kubernetes(at, true);
            invariants(model);
        }
        model.pass(400);
        let after: Vec<_> =
            model.things.iter().map(|t| (t.backup.clone(), t.gone, t.jobs.clone(), t.pods.clone())).collect();
        if before == after && round > 0 {
            return;
        }
    }
    panic!("it does not come to rest: {:#?}", model.things);
}

fn at_rest(model: &Model) {
    for (at, thing) in model.things.iter().enumerate().filter(|(_, t)| !t.gone) {
        let status = thing.status();
        assert!(thing.live().is_empty(), "a worker is left: {:?}", thing.live());
        let released = status.run.conditions.iter().any(|c| c.reason == Reason::NamespaceTerminating.as_str());
        let deleting = thing.backup.metadata.deletion_timestamp.is_some();
        assert!(!deleting, "it is neither gone nor does it say why");
        let ended = matches!(status.phase, Some(BackupPhase::Completed | BackupPhase::Failed));
        assert!(ended || released, "{status:#?}");
        let decision = decide(&model.observe(at), model.now);
        assert_eq!(decision.status, thing.backup.written());
        assert!(decision.effects.iter().all(|e| !matches!(e, Effect::CreateJob(_))), "{:?}", decision.effects);
    }
}

/// The first operator has made the Job, which changes nothing about the Backup. The second one has looked before that, and
/// acts so late that the Job counts as never made.
#[test]
fn an_old_view_does_not_give_up_a_job_that_was_made_meanwhile() {
    let mut model = Model::new();
    let moves = [
        Move::Look(0),
        Move::Act(0, 2, false),
        Move::Look(0),
        Move::Act(0, 3, true),
        Move::Pass(700),
        Move::Act(0, 1, false),
    ];
    for a_move in &moves {
        apply(&mut model, a_move);
        invariants(&model);
        nothing_flaps(&model);
    }
    assert!(!model.things[0].live().is_empty(), "the Job is there");
    kind_world(&mut model);
    at_rest(&model);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_world_comes_to_rest(moves in prop::collection::vec(a_move(), 0..120)) {
        let mut model = Model::new();
        for a_move in &moves {
            apply(&mut model, a_move);
            invariants(&model);
            nothing_flaps(&model);
        }
        kind_world(&mut model);
        at_rest(&model);
    }
}
