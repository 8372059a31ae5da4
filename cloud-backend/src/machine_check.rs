//! Machine files are checked by the code that the agent reads them with.

use edge_config::{ConfigErrors, Problem, check_machines};
use protocol::ConfigurationFiles;
use tenancy::{ConfigurationProblem, MachineCheck};

/// The agent's own parser.
pub(crate) struct AgentCheck;

impl MachineCheck for AgentCheck {
    fn problems(&self, files: &ConfigurationFiles) -> Vec<ConfigurationProblem> {
        match check_machines(files.iter()) {
            Ok(_) => Vec::new(),
            Err(ConfigErrors(problems)) => problems.into_iter().map(told).collect(),
        }
    }
}

fn told(problem: Problem) -> ConfigurationProblem {
    let Problem { file, line, key, value, message } = problem;
    let value = if value.is_empty() { String::new() } else { format!(" = {value}") };
    let message = if key.is_empty() { message } else { format!("{key}{value}: {message}") };
    ConfigurationProblem { file: file.display().to_string(), line: line.map(|line| line as u64), message }
}
