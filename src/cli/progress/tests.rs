use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::TermLike;

use super::*;

/// What a log or a terminal of 80 columns was given.
#[derive(Clone, Debug, Default)]
struct Screen(Arc<Mutex<String>>, Arc<AtomicUsize>);

impl Screen {
    fn text(&self) -> String {
        lock(&self.0).clone()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).push_str(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        80
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        lock(&self.0).push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        lock(&self.0).clear();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn watched(view: View) -> Shown {
    shown(view, |view| Watch::new(view, worker::wall(), "r", (Watch::NEVER, STALL), CancellationToken::new()))
}

async fn copy(shown: &Shown, seconds: u64) {
    let work = async {
        shown.step("copying");
        shown.total(100, 1_000_000_000);
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            shown.done(1, 10_000_000);
        }
    };
    // The work first: else chance says whether the step before it is seen.
    tokio::select! {
        biased;
        () = work => {}
        never = shown.beat() => match never {},
    }
    shown.tell(None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_gets_a_line_now_and_then() {
    let screen = Screen::default();
    let shown = watched(View::lines("backup", Box::new(screen.clone())));
    copy(&shown, 70).await;
    shown.step("committing");
    shown.tell(None).await.unwrap();
    drop(shown);
    let text = screen.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    let first = "backup: copying, 0%, 0 B of 1.0 GB, 0 of 100 objects";
    assert_eq!((lines[0], lines[3]), (first, "backup: committing"));
    // Half a minute later; how much was counted by then hangs on the order of two timers.
    assert!(lines[1].starts_with("backup: copying, 30%, ") || lines[1].starts_with("backup: copying, 29%, "), "{text}");
    assert!(
        lines[1].contains(" MB of 1.0 GB, ") && lines[1].contains(" MB/s, ") && lines[1].contains("s left"),
        "{text}"
    );
    assert!(lines[1].ends_with(" of 100 objects"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_terminal_gets_a_bar_that_fits_and_goes() {
    let screen = Screen::default();
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
    let shown = watched(View::bar("check", target, || 80));
    shown.tell(None).await.unwrap();
    assert!(screen.text().contains("starting"), "{:?}", screen.text());
    copy(&shown, 50).await;
    // The clock of the bar is not the one that stands still here: what it drew last need not be the last beat.
    let text = screen.text();
    assert!(text.starts_with("check: [") && text.contains('%'), "{text:?}");
    assert!(text.trim_end().chars().count() <= 80, "{text:?}");
    assert!(!text.contains('\u{1b}'), "a bar has no colours");
    drop(shown);
    assert_eq!(screen.text(), "");
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let parts = || ["43%", "1.2 GB of 2.8 GB", "310 of 733 objects", "copying"].map(str::to_owned).to_vec();
    assert_eq!(fitting(parts(), 80), "43%, 1.2 GB of 2.8 GB, 310 of 733 objects, copying");
    assert_eq!(fitting(parts(), 31), "43%, 1.2 GB of 2.8 GB, copying");
    assert_eq!(fitting(parts(), 2), "");
}

#[test]
fn a_step_whose_end_is_unknown_is_named_with_what_was_done() {
    let progress = |text: &str| -> Progress { serde_json::from_str(text).unwrap() };
    let begin = r#"{"run": "r", "step": "copying", "objects": 3, "bytes": 4000000, "text": "x""#;
    let open = progress(&format!("{begin}}}"));
    assert_eq!((whole(&open), numbers(&open, None).join(", ")), (None, "4.0 MB, 3 objects".into()));
    let empty = progress(&format!(r#"{begin}, "totalObjects": 6, "totalBytes": 0}}"#));
    assert_eq!(whole(&empty), Some((3, 6)), "objects count where there are no bytes");
    let over = progress(&format!(r#"{begin}, "totalObjects": 2, "totalBytes": 2000000}}"#));
    assert_eq!(numbers(&over, Some(5))[0], "100%", "more than was said beforehand is no more than all");
}
