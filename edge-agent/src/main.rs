//! `edge-agent`: the agent on a gateway.

mod alarms;
mod app;
mod begin;
mod board;
mod buffer_key;
mod buffer_view;
mod bus_load;
mod catalogue;
mod certificate;
mod cli;
mod commands;
mod configuration;
mod errand;
mod floor;
mod gateway;
mod good_copy;
mod lane;
mod latency;
mod lines;
mod operate;
mod outbox;
mod outputs;
mod page;
mod promise;
mod reload;
mod remote;
mod sink;
mod start;
mod status;
mod task;
mod time;
mod tools;
mod update;
mod version;
mod view;

use std::process::ExitCode;

use clap::Parser;
use service_kit::telemetry;

use cli::{AlarmCommand, BrowseCommand, Cli, Command, DoctorCommand, ReadCommand, ScanCommand, WriteCommand};
use tools::Found;

/// The configuration is wrong (`EX_CONFIG` of sysexits.h): a restart will not help.
const EXIT_CONFIG: u8 = 78;

/// A command asked for a restart (`EX_TEMPFAIL`): a service manager that restarts after failures does it, too.
const EXIT_RESTART: u8 = 75;

/// What was looked for is not there, what was written is not confirmed, or what was checked is not sound.
const EXIT_NOTHING: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(cli.log_format.into(), &cli.log);
    let outcome = match cli.command {
        Command::Run(arguments) => app::run(&arguments).map(|()| Found::Something),
        Command::Reload(arguments) => tools::reload::run(&arguments),
        Command::Enrol(arguments) => tools::enrol::run(&arguments),
        Command::Config(command) => tools::config::run(&command),
        Command::Update(command) => tools::update::run(&command),
        Command::Check(arguments) => tools::check::run(&arguments).map(|()| Found::Something),
        Command::Alarm(AlarmCommand::Test(arguments)) => tools::alarm_test::run(&arguments),
        Command::Buffer(command) => tools::buffer::run(&command),
        Command::Read(ReadCommand::Modbus(arguments)) => tools::read::modbus(&arguments),
        Command::Write(WriteCommand::Modbus(arguments)) => tools::write::modbus(&arguments),
        Command::Write(WriteCommand::Tag(arguments)) => tools::write::tag(&arguments),
        Command::Watch(arguments) => tools::watch::run(&arguments),
        Command::Import(arguments) => tools::import::run(&arguments),
        Command::Diag(arguments) => tools::diag::run(&arguments),
        Command::Generate(arguments) => tools::generate::run(&arguments),
        Command::Read(ReadCommand::Opcua(arguments)) => tools::opcua::read(&arguments),
        Command::Browse(BrowseCommand::Opcua(arguments)) => tools::opcua::browse(&arguments),
        Command::Doctor(DoctorCommand::Opcua(arguments)) => tools::opcua::doctor(&arguments),
        Command::Scan(ScanCommand::Modbus(arguments)) => tools::scan::modbus(&arguments),
        Command::Scan(ScanCommand::Serial(arguments)) => tools::serial::run(&arguments),
    };
    match outcome {
        Ok(Found::Something) => ExitCode::SUCCESS,
        Ok(Found::Nothing) => ExitCode::from(EXIT_NOTHING),
        Err(error) if error.downcast_ref::<app::RestartAsked>().is_some() => ExitCode::from(EXIT_RESTART),
        Err(error) => {
            report(&error);
            let is_config = error.downcast_ref::<edge_config::ConfigErrors>().is_some()
                || error.downcast_ref::<tools::WrongConfiguration>().is_some();
            ExitCode::from(if is_config { EXIT_CONFIG } else { 1 })
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word of a command line program")]
fn report(error: &anyhow::Error) {
    eprintln!("edge-agent: {error:#}");
}
