//! The manual and the shell completions: both come from the command line's own definition.

use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::Shell;

use super::exit::Failure;
use super::out::Context;
use super::{definition, manual};

/// The hidden option of `relay`.
const HIDDEN: &str = "--until-input-ends";

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  treecast completions bash > ~/.local/share/bash-completion/completions/treecast\n  \
    treecast completions fish > ~/.config/fish/completions/treecast.fish"
)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  treecast man | man -l -\n  treecast man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Where the pages go, one for each verb; made when it does not exist
    pub dir: Option<PathBuf>,
}

/// Writes a completion script.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(args: &CompletionsArgs, context: &mut Context) -> Result<(), Failure> {
    Ok(context.out.bytes(script(args.shell).as_bytes())?)
}

/// The script; without the option that is meant for programs, which the generators do not leave out.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "treecast", &mut script);
    let script = String::from_utf8_lossy(&script);
    if shell == Shell::Bash {
        // All options stand in one line.
        return script.replace(&format!("{HIDDEN} "), "");
    }
    let lines = script.lines().filter(|line| !line.contains(HIDDEN.trim_start_matches('-')));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Writes the manual.
///
/// # Errors
/// When standard output or a file cannot be written.
pub fn man(args: &ManArgs, context: &mut Context) -> Result<(), Failure> {
    match &args.dir {
        None => {
            let mut page = Vec::new();
            manual::page(&manual::definition(), &mut page)?;
            Ok(context.out.bytes(&page)?)
        }
        Some(dir) => pages_into(dir, context),
    }
}

fn pages_into(dir: &Path, context: &Context) -> Result<(), Failure> {
    let failure = |source| Failure::File { what: "write the manual into", path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failure)?;
    write_pages(&manual::definition(), dir).map_err(failure)?;
    context.notes.note(format_args!("the manual is in {}", dir.display()));
    Ok(())
}

/// The page of a command, and those of the commands below it.
fn write_pages(command: &clap::Command, dir: &Path) -> std::io::Result<()> {
    let mut page = Vec::new();
    manual::page(command, &mut page)?;
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    std::fs::write(dir.join(format!("{name}.1")), page)?;
    command.get_subcommands().try_for_each(|sub| write_pages(sub, dir))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn completions_know_every_option_but_the_hidden_one() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            assert!(!script.contains("until-input-ends"), "{shell}");
            assert!(script.contains("segment-bytes") && script.contains("scrub-rate"), "{shell}");
        }
    }
}
