//! The manual and the shell completions: both come from the command line's own definition.

use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::Shell;

use super::definition;
use super::exit::Failure;
use super::out::Context;

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
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "treecast", &mut script);
    Ok(context.out.bytes(&script)?)
}

/// Writes the manual.
///
/// # Errors
/// When standard output or a file cannot be written.
pub fn man(args: &ManArgs, context: &mut Context) -> Result<(), Failure> {
    match &args.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(definition()).render(&mut page)?;
            Ok(context.out.bytes(&page)?)
        }
        Some(dir) => pages_into(dir, context),
    }
}

fn pages_into(dir: &Path, context: &Context) -> Result<(), Failure> {
    let failure = |source| Failure::File { what: "write the manual into", path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failure)?;
    clap_mangen::generate_to(definition(), dir).map_err(failure)?;
    context.notes.note(format_args!("the manual is in {}", dir.display()));
    Ok(())
}
