//! The program `cloud-backend`.

use std::process::ExitCode;

use clap::Parser as _;
use cloud_backend::Cli;

fn main() -> ExitCode {
    match cloud_backend::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cloud_backend::report(&error);
            ExitCode::FAILURE
        }
    }
}
