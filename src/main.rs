//! The `treecast` command: all of it is in [`treecast::cli`], so that the
//! manual and the completions come from the same definition.

use std::process::ExitCode;

fn main() -> ExitCode {
    treecast::cli::main()
}
