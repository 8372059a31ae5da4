//! `edge-agent generate`: completions for shells and manual pages, for packages.

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Found;
use crate::cli::{Cli, GenerateArguments};

const NAME: &str = "edge-agent";

pub(crate) fn run(arguments: &GenerateArguments) -> Result<Found> {
    let out = &arguments.out;
    let failed = || format!("cannot write to {}", out.display());
    std::fs::create_dir_all(out).with_context(failed)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), NAME, out).with_context(failed)?;
    }
    clap_mangen::generate_to(Cli::command().name(NAME), out).with_context(failed)?;
    Ok(Found::Something)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_and_manual_pages_know_every_command() {
        let folder = tempfile::tempdir().expect("a folder");
        run(&GenerateArguments { out: folder.path().join("new") }).expect("written");
        let text = |name: &str| std::fs::read_to_string(folder.path().join("new").join(name)).expect(name);
        for command in Cli::command().get_subcommands() {
            assert!(text("edge-agent.bash").contains(command.get_name()), "{}", command.get_name());
            assert!(text(&format!("edge-agent-{}.1", command.get_name())).contains(".TH"));
        }
        assert!(text("_edge-agent").contains("#compdef edge-agent"));
        assert!(text("edge-agent.1").contains("Exit codes"), "the exit codes are documented");
    }
}
