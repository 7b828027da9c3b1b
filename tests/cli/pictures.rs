//! What people see, as pictures for the documentation: drawn from what the program writes to a terminal.
//! `UPDATE=1 cargo test --test cli pictures` draws them anew.

use std::path::Path;

use rstest::rstest;

use super::{Desk, FULL, INCREMENTAL};

/// What a terminal shows once everything was written to it.
struct Screen {
    columns: usize,
    lines: Vec<Vec<char>>,
    at: (usize, usize),
}

impl Screen {
    fn of(text: &str, columns: usize) -> Vec<String> {
        let mut screen = Self { columns, lines: vec![vec![]], at: (0, 0) };
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\n' => screen.go(screen.at.0 + 1, screen.at.1),
                '\r' => screen.at.1 = 0,
                '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                    let mut number = String::new();
                    while let Some(digit) = chars.next_if(|c| !c.is_ascii_alphabetic()) {
                        number.push(digit);
                    }
                    screen.obey(chars.next().unwrap(), &number);
                }
                c => screen.put(c),
            }
        }
        let shown = screen.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        let mut shown: Vec<String> = shown.collect();
        while shown.last().is_some_and(String::is_empty) {
            shown.pop();
        }
        shown
    }

    fn go(&mut self, line: usize, column: usize) {
        self.at = (line, column);
        while self.lines.len() <= line {
            self.lines.push(vec![]);
        }
    }

    fn put(&mut self, c: char) {
        if self.at.1 >= self.columns {
            self.go(self.at.0 + 1, 0);
        }
        let (line, column) = self.at;
        let cells = &mut self.lines[line];
        while cells.len() <= column {
            cells.push(' ');
        }
        cells[column] = c;
        self.at.1 += 1;
    }

    fn obey(&mut self, command: char, number: &str) {
        let count = number.parse::<usize>().unwrap_or(1);
        match command {
            'A' => self.at.0 = self.at.0.saturating_sub(count),
            'B' => self.go(self.at.0 + count, self.at.1),
            'G' => self.at.1 = count - 1,
            'K' if number == "2" => self.lines[self.at.0].clear(),
            'K' => self.lines[self.at.0].truncate(self.at.1),
            'J' => {
                self.lines.truncate(self.at.0 + 1);
                self.lines[self.at.0].truncate(self.at.1);
            }
            // Colours and the cursor's looks are not drawn.
            'm' | 'h' | 'l' => {}
            other => panic!("the program writes ESC [ {number} {other}"),
        }
    }
}

fn drawn(line: &str, shown: &[String], columns: usize) -> String {
    const CHARACTER: (usize, usize) = (8, 18);
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (width, height) = (columns * CHARACTER.0 + 24, (shown.len() + 1) * CHARACTER.1 + 24);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" \
         font-size=\"13.3\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1b1f27\"/>\n"
    );
    let prompt = format!("$ {line}");
    for (n, text) in std::iter::once(&prompt).chain(shown).enumerate() {
        let (y, colour) = (12 + (n + 1) * CHARACTER.1 - 5, if n == 0 { "#8fd18f" } else { "#dfe3ea" });
        let length = text.chars().count() * CHARACTER.0;
        if length > 0 {
            svg += &format!(
                "<text x=\"12\" y=\"{y}\" fill=\"{colour}\" xml:space=\"preserve\" textLength=\"{length}\">{}</text>\n",
                escape(text)
            );
        }
    }
    svg + "</svg>\n"
}

#[rstest]
#[case("list", 200, "list --backup_path /backups/mo/prod")]
#[case("list-80", 80, "list --backup_path /backups/mo/prod")]
#[case("list-one", 200, "list {INCREMENTAL} --backup_path /backups/mo/prod")]
#[case("check", 120, "check {INCREMENTAL} --backup_path /backups/mo/prod")]
#[case("check-damaged", 120, "check --backup_path /backups/mo/hurt")]
#[case("delete", 120, "delete {FULL} --backup_path /backups/mo/prod")]
#[case("help-backup", 80, "backup -h")]
#[case(
    "restore",
    120,
    "restore {INCREMENTAL} --backup_path /backups/mo/prod --restore_dir filesystem --restore_path /backups/mo/home"
)]
#[case("help", 80, "restore -h")]
fn pictures_show_what_people_see(#[case] name: &str, #[case] columns: usize, #[case] line: &str) {
    // As long as what stands in the picture: a table's width depends on it.
    let folder = tempfile::Builder::new().prefix("").rand_bytes(6).tempdir_in("/tmp").unwrap();
    let (real, shown) = (folder.path().display().to_string(), "/backups/mo");
    assert_eq!(real.len(), shown.len());
    let desk = Desk::at(folder, &[("whole", "prod"), ("flipped-bit", "hurt")]);
    let line = line.replace("{INCREMENTAL}", INCREMENTAL).replace("{FULL}", FULL);
    let text = desk.terminal(columns, &line.replace(shown, &real));
    let lines = Screen::of(&text.replace(&real, shown), columns);
    for line in &lines {
        assert!(!line.contains("/tmp"), "{line}");
    }
    if ["list", "list-80", "help", "help-backup"].contains(&name) {
        let widest = Screen::of(&text, usize::MAX).iter().map(|line| line.chars().count()).max().unwrap_or_default();
        assert!(widest <= columns, "a line of {widest} characters is broken at {columns}:\n{}", lines.join("\n"));
    }
    let picture = drawn(&format!("mo-backup {line}"), &lines, columns);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/pictures/{name}.svg"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &picture).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == picture,
        "{} is not what people see; UPDATE=1 draws it anew:\n{}",
        path.display(),
        lines.join("\n")
    );
}

/// With `NO_COLOR`, in a pipe and on a dumb terminal nothing but text is written.
#[test]
fn colours_are_only_where_they_are_wanted() {
    let desk = Desk::with("whole");
    let bad = "list seven --path prod";
    let coloured = desk.terminal(80, bad);
    assert!(coloured.contains("\u{1b}[1m") && coloured.contains("31m"), "{coloured:?}");
    let plain = desk.terminal_with(80, bad, &[("NO_COLOR", "1")]);
    assert!(!plain.contains("\u{1b}["), "{plain:?}");
    let (_, _, piped) = desk.run(&["list", "seven", "--path", "prod"]);
    assert!(!piped.contains('\u{1b}'), "{piped:?}");
}
