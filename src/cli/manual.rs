//! Completions of shells, and the manual page.

use std::io::{self, Write as _};

use clap::Command;

use super::{
    ending::{Ending, Refusal},
    screen,
};

/// Prints what a shell needs to complete the command line.
///
/// # Errors
/// When it cannot be written.
pub fn completions(shell: clap_complete::Shell, program: &mut Command) -> Result<Ending, Refusal> {
    let mut text = Vec::new();
    let name = program.get_name().to_owned();
    clap_complete::generate(shell, program, name, &mut text);
    // In Bash a program with a hyphen in its name has its commands under two names, so that none is found:
    // https://github.com/clap-rs/clap/issues/6421
    let text = String::from_utf8_lossy(&text).replace("mo__subcmd__backup", "mo__backup");
    screen::written(io::stdout().lock().write_all(text.as_bytes()))?;
    Ok(Ending::Done)
}

/// Prints the manual page: the program, then each command.
///
/// # Errors
/// When it cannot be written.
pub fn page(program: &Command) -> Result<Ending, Refusal> {
    let mut out = io::stdout().lock();
    screen::written(written(program, &mut out))?;
    Ok(Ending::Done)
}

fn written(program: &Command, out: &mut dyn io::Write) -> io::Result<()> {
    clap_mangen::Man::new(program.clone()).render(out)?;
    let (mut name, mut text) = (String::new(), Vec::new());
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        name.clear();
        name.push_str(&format!("{} {}", program.get_name(), command.get_name()).to_uppercase());
        let page = clap_mangen::Man::new(command.clone().bin_name(name.to_lowercase()));
        text.clear();
        page.render_description_section(&mut text)?;
        page.render_synopsis_section(&mut text)?;
        page.render_options_section(&mut text)?;
        writeln!(out, ".SH {}", name.replace('-', "\\-"))?;
        // Sections of a command are sections below its own.
        out.write_all(String::from_utf8_lossy(&text).replace(".SH ", ".SS ").as_bytes())?;
    }
    Ok(())
}
