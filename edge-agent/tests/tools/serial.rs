//! The tools on a serial line, as whole programs.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;

use crate::line::{Setting, TestLine};
use crate::program::{command, ended, run};

/// A machine with 9,600 bits per second and odd parity, unit 2, whose registers hold their address.
fn machine() -> TestLine {
    TestLine::start(|asked, setting| {
        (setting == Setting::of(9_600, "odd") && asked.unit == 2).then(|| match asked.function {
            6 => asked.confirmation(),
            _ => asked.registers(|address| address),
        })
    })
}

#[tokio::test]
async fn an_unknown_line_is_found_out_and_then_read_and_written_with_what_was_found() {
    let line = machine();
    let device = line.device();
    let sweep = run(&format!(
        "scan serial --device {device} --units 1-3 --baud-rates 19200,9600 --timeout-ms 60 --json"
    ))
    .await;
    assert_eq!(sweep.code, 0, "{sweep:?}");
    assert!(sweep.err.contains("6 settings, 3 unit ids each: about 2 s"), "{sweep:?}");
    let found = &sweep.json()["answering"];
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{sweep:?}");
    let config = format!(
        "[modbus_rtu]\ndevice = \"{device}\"\nbaud_rate = 9600\nparity = \"odd\"\nstop_bits = 1\nunit_id = 2\n"
    );
    assert_eq!(found[0]["config"], config);

    let place = format!("--device {device} --baud-rate 9600 --parity odd --unit 2 --timeout-ms 300");
    let read = run(&format!("read modbus {place} --register 7 --count 2 --json")).await.json();
    assert_eq!((&read["registers"][1]["unsigned"], &read["protocol"]), (&8.into(), &"modbus-rtu".into()));
    let journal = tempfile::NamedTempFile::new().expect("a file");
    let journal = journal.path().display();
    let write = format!("write modbus {place} --register 7 --yes --json --journal {journal}");
    // Its registers always read their address.
    assert_eq!(run(&format!("{write} --value 7")).await.code, 0);
    let differs = run(&format!("{write} --value 9")).await;
    assert_eq!((differs.code, &differs.json()["outcome"]), (3, &"differs".into()), "{differs:?}");
}

#[tokio::test]
async fn a_line_on_which_nobody_answers_ends_with_code_3_and_what_to_check() {
    let line = TestLine::start(|_, _| None);
    let device = line.device();
    let sweep =
        run(&format!("scan serial --device {device} --units 1 --baud-rates 9600 --timeout-ms 20")).await;
    assert_eq!(sweep.code, 3, "{sweep:?}");
    assert!(sweep.out.contains("A and B are not swapped"), "{sweep:?}");
}

#[tokio::test]
async fn ctrl_c_ends_a_sweep_and_prints_what_is_known() {
    let (tell, mut asked) = mpsc::channel(1);
    let line = TestLine::start(move |asked, setting| {
        if setting.baud_rate == 19_200 {
            let _ = tell.try_send(());
            return None;
        }
        (setting == Setting::of(9_600, "even") && asked.unit == 1).then(|| asked.exception(2))
    });
    let arguments = format!(
        "scan serial --device {} --units 1-20 --baud-rates 9600,19200 --parities even --timeout-ms 100 --json",
        line.device()
    );
    let child = command(&arguments).spawn().expect("the program starts");
    let id = child.id().and_then(|id| i32::try_from(id).ok()).expect("it runs");
    tokio::time::timeout(std::time::Duration::from_secs(50), asked.recv())
        .await
        .expect("asked")
        .expect("open");
    kill(Pid::from_raw(id), Signal::SIGINT).expect("sent");
    let ended = ended(child).await;
    let sweep = ended.json();
    assert_eq!((ended.code, &sweep["ended_early"]), (0, &"stopped by Ctrl-C".into()), "{sweep:#}");
    assert_eq!(sweep["answering"][0]["unit_id"], 1, "{sweep:#}");
}
