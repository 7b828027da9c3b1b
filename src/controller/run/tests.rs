use rstest::rstest;

use super::*;

const RUN: &str = "uid-1";

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn job(change: impl FnOnce(&mut JobSeen)) -> Workers {
    let mut job =
        JobSeen { name: "b-1".into(), uid: "job".into(), run: RUN.into(), created: t(0), deleting: false, end: None };
    change(&mut job);
    Workers { jobs: vec![job], ..Workers::default() }
}

fn pod(change: impl FnOnce(&mut PodSeen)) -> PodSeen {
    let mut pod = PodSeen {
        name: "b-1-x".into(),
        run: RUN.into(),
        node: Some("node".into()),
        alive: true,
        gone_by: None,
        started: Some(t(10)),
        waiting: None,
        ended: None,
        taken: None,
        last_words: None,
    };
    change(&mut pod);
    pod
}

fn with(workers: Workers, pod: PodSeen) -> Workers {
    Workers { pods: vec![pod], ..workers }
}

fn stage(record: &AttemptRecord, workers: &Workers, heard: bool, heartbeat: Option<Timestamp>, now: i64) -> Stage {
    let limits =
        Limits { start: Duration::from_mins(10), run: Duration::from_hours(1), stall: Some(Duration::from_mins(15)) };
    Open { record, run: RUN, heard, heartbeat, workers, limits }.stage(t(now))
}

fn recorded() -> AttemptRecord {
    AttemptRecord { number: 1, job: "b-1".into(), job_uid: Some("job".into()), ..AttemptRecord::default() }
}

#[test]
fn a_job_that_was_never_made_is_made() {
    let never = AttemptRecord { job_uid: None, ..recorded() };
    assert_eq!(stage(&never, &Workers::default(), false, None, 0), Stage::ToMake);
}

#[rstest]
#[case::its_uid_is_on_record(recorded(), Workers::default(), false)]
#[case::its_worker_was_heard(AttemptRecord { job_uid: None, ..recorded() }, Workers::default(), true)]
#[case::its_dead_pod_is_there(AttemptRecord { job_uid: None, ..recorded() }, with(Workers::default(), pod(|p| p.alive = false)), false)]
fn a_job_that_was_made_and_is_gone_is_over(
    #[case] record: AttemptRecord,
    #[case] workers: Workers,
    #[case] heard: bool,
) {
    assert_eq!(stage(&record, &workers, heard, None, 20), Stage::Over(Ending::Vanished));
}

#[rstest]
#[case::the_job_is_gone(Workers::default())]
#[case::the_job_is_being_deleted(job(|j| j.deleting = true))]
#[case::the_job_has_ended(job(|j| j.end = Some(JobEnd::Complete)))]
fn nothing_is_over_while_a_pod_is_alive(#[case] workers: Workers) {
    assert_eq!(stage(&recorded(), &with(workers, pod(|_| {})), false, None, 20), Stage::Stopping);
}

#[test]
fn a_deleted_job_is_over_only_when_it_is_gone() {
    assert_eq!(stage(&recorded(), &job(|j| j.deleting = true), false, None, 20), Stage::Stopping);
}

#[test]
fn a_pod_that_outlives_its_grace_has_lost_its_node() {
    let deleted = with(job(|j| j.deleting = true), pod(|p| p.gone_by = Some(t(100))));
    assert_eq!(stage(&recorded(), &deleted, false, None, 129), Stage::Stopping);
    let lost = Stage::Lost { pod: "b-1-x".into(), node: "node".into() };
    assert_eq!(stage(&recorded(), &deleted, false, None, 130), lost);
}

#[test]
fn a_deleted_pod_is_looked_at_again_when_it_counts_as_lost() {
    let running = with(job(|_| {}), pod(|p| p.gone_by = Some(t(100))));
    assert_eq!(stage(&recorded(), &running, false, None, 50), Stage::Running { until: t(130) });
    let starting = with(job(|_| {}), pod(|p| (p.gone_by, p.started) = (Some(t(100)), None)));
    assert_eq!(stage(&recorded(), &starting, false, None, 50), Stage::Starting { waiting: None, until: t(130) });
}

#[rstest]
#[case::start(job(|_| {}), None, 600, Reason::StartDeadlineExceeded)]
#[case::start_names_what_it_waits_for(with(job(|_| {}), pod(|p| { p.started = None; p.waiting = Some("ImagePullBackOff".into()); })), None, 600, Reason::StartDeadlineExceeded)]
#[case::run(with(job(|_| {}), pod(|_| {})), Some(t(3660)), 10 + 3600 + 60, Reason::RunDeadlineExceeded)]
#[case::never_a_sign(with(job(|_| {}), pod(|_| {})), None, 10 + 900 + 60, Reason::Stalled)]
#[case::no_more_signs(with(job(|_| {}), pod(|_| {})), Some(t(500)), 500 + 900 + 60, Reason::Stalled)]
fn deadlines_end_to_the_second(
    #[case] workers: Workers,
    #[case] heartbeat: Option<Timestamp>,
    #[case] at: i64,
    #[case] expected: Reason,
) {
    let before = stage(&recorded(), &workers, false, heartbeat, at - 1);
    assert!(matches!(before, Stage::Starting { .. } | Stage::Running { .. }), "{before:?}");
    match stage(&recorded(), &workers, false, heartbeat, at) {
        Stage::Overdue { reason, message } => {
            assert_eq!(reason, expected);
            let waiting = workers.pods.iter().find_map(|p| p.waiting.as_ref());
            assert!(waiting.is_none_or(|w| message.contains(w)), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_order_to_stop_is_repeated_until_it_is_obeyed() {
    let ordered = AttemptRecord { reason: Some("Cancelled".into()), ..recorded() };
    let stage = stage(&ordered, &with(job(|_| {}), pod(|_| {})), false, None, 20);
    assert_eq!(stage, Stage::Overdue { reason: Reason::Cancelled, message: String::new() });
}

#[test]
fn an_end_is_told_in_the_words_of_the_pod() {
    let workers = with(
        job(|j| j.end = Some(JobEnd::Failed { detail: "BackoffLimitExceeded".into() })),
        pod(|p| {
            p.alive = false;
            p.ended = Some("OOMKilled, exit code 137".into());
        }),
    );
    match stage(&recorded(), &workers, false, None, 20) {
        Stage::Over(Ending::Failed { detail, taken: None }) => assert!(detail.contains("OOMKilled"), "{detail}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_was_told_to_stop_does_not_hide_who_did() {
    let workers = with(
        job(|j| j.end = Some(JobEnd::Failed { detail: "BackoffLimitExceeded".into() })),
        pod(|p| {
            p.alive = false;
            p.taken = Some("Evicted: too much in tmp".into());
        }),
    );
    let Stage::Over(ending) = stage(&recorded(), &workers, true, None, 20) else { panic!("not over") };
    let told = said(Outcome::Interrupted, "Interrupted", true)
        .map(|said| Said { message: Some("told to stop.".into()), ..said });
    let verdict = judge(&recorded(), &ending, told.as_ref());
    assert_eq!(
        verdict,
        Verdict::Again(Reason::Interrupted, "told to stop. Pod b-1-x: Evicted: too much in tmp".into())
    );
}

fn said(outcome: Outcome, reason: &str, retryable: bool) -> Option<Said> {
    Some(Said { run: RUN.into(), outcome, reason: Some(reason.into()), message: Some("m".into()), retryable })
}

#[rstest]
#[case::success(None, said(Outcome::Succeeded, "", false), Verdict::Done)]
#[case::success_beats_a_late_order(Some("Cancelled"), said(Outcome::Succeeded, "", false), Verdict::Done)]
#[case::passing(None, said(Outcome::Failed, "StorageThrottled", true), Verdict::Again(Reason::StorageThrottled, "m".into()))]
#[case::the_worker_says_never(None, said(Outcome::Failed, "StorageThrottled", false), Verdict::Never(Reason::StorageThrottled, "m".into()))]
#[case::the_worker_knows_of_a_way(None, said(Outcome::Failed, "BaseNotUsable", true), Verdict::Again(Reason::BaseNotUsable, "m".into()))]
#[case::a_reason_of_a_newer_worker(None, said(Outcome::Failed, "Unheard", true), Verdict::Again(Reason::Internal, "m".into()))]
#[case::interrupted(None, said(Outcome::Interrupted, "Interrupted", true), Verdict::Again(Reason::Interrupted, "m".into()))]
#[case::cancelled(
    Some("Cancelled"),
    said(Outcome::Interrupted, "Interrupted", true),
    Verdict::Never(Reason::Cancelled, String::new())
)]
#[case::stalled(Some("Stalled"), None, Verdict::Again(Reason::Stalled, String::new()))]
fn a_verdict_follows_from_report_and_order(
    #[case] order: Option<&str>,
    #[case] said: Option<Said>,
    #[case] expected: Verdict,
) {
    let record = AttemptRecord { reason: order.map(str::to_owned), ..recorded() };
    assert_eq!(judge(&record, &Ending::Vanished, said.as_ref()), expected);
}

#[rstest]
#[case(Ending::Complete, Reason::WorkerFailed)]
#[case(Ending::Failed { detail: "x".into(), taken: None }, Reason::WorkerFailed)]
#[case(Ending::Vanished, Reason::JobVanished)]
fn without_a_report_an_attempt_is_repeated(#[case] ending: Ending, #[case] expected: Reason) {
    match judge(&recorded(), &ending, None) {
        Verdict::Again(reason, message) => {
            assert_eq!(reason, expected);
            assert!(!message.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case(1, 10)]
#[case(2, 20)]
#[case(5, 160)]
#[case(6, 300)]
#[case(4_000_000_000, 300)]
fn waits_double_up_to_a_limit(#[case] failed: u32, #[case] seconds: u64) {
    assert_eq!(backoff(failed, Duration::from_mins(5)), Duration::from_secs(seconds));
}

#[rstest]
#[case(0, "0s")]
#[case(90, "1m30s")]
#[case(86_400, "24h")]
fn durations_are_written_as_specs_write_them(#[case] seconds: u64, #[case] text: &str) {
    assert_eq!(human(Duration::from_secs(seconds)), text);
}
