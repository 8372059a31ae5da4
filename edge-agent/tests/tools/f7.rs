//! F7 from end to end: what a technician finds out about an unknown machine with the tools alone.

use crate::line::TestLine;
use crate::program::run;
use crate::server::{Asked, TestServer};

/// Unit 17 has 40 registers from 100 on, no coils, and shows 229.01 on its display, which lies in two
/// of them with all bytes the other way round.
fn machine(asked: &Asked) -> Option<Vec<u8>> {
    let value = |address: u16| match address {
        110 => 0x8F02,
        111 => 0x6543,
        other => other,
    };
    match (asked.unit, asked.function, asked.address) {
        (17, 3, 100..140) if asked.address + asked.quantity <= 140 => {
            Some(if asked.quantity > 16 { asked.exception(3) } else { asked.registers(value) })
        }
        (17, 3, _) => Some(asked.exception(2)),
        (17, ..) => Some(asked.exception(1)),
        _ => None,
    }
}

#[tokio::test]
async fn f7_units_functions_largest_block_times_and_byte_order_are_found_out() {
    let server = TestServer::start(|asked| machine(&asked)).await;
    let host = format!("--host 127.0.0.1 --port {} --json", server.port);
    let scan = run(&format!("scan modbus {host} --units 15-18 --timeout-ms 150")).await;
    let (code, scan) = (scan.code, scan.json());
    assert_eq!((code, scan["units"].as_array().map(Vec::len)), (0, Some(1)), "{scan:#}");
    let unit = &scan["units"][0];
    assert_eq!(
        (&unit["unit_id"], &unit["function_codes"]),
        (&17.into(), &serde_json::json!([3])),
        "{scan:#}"
    );
    assert_eq!((&unit["readable"]["start"], &unit["readable"]["quantity_max"]), (&100.into(), &16.into()));
    let times = &unit["response_ms"];
    assert!(times["p50"].as_f64() <= times["p99"].as_f64() && times["requests"] == 25, "{scan:#}");

    let read = run(&format!("read modbus {host} --unit 17 --register 108 --count 8 --expect 229.01")).await;
    let best = &read.json()["matches"][0];
    assert_eq!(best["config"], "holding_register = 110\nformat = \"f32\"\nword_order = \"dcba\"", "{best:#}");
}

#[tokio::test]
async fn f7_it_is_the_same_over_rtu_in_a_tcp_stream() {
    let port = TestLine::over_tcp(|asked| (asked.unit == 3).then(|| asked.registers(|a| a + 1))).await;
    let host = format!("--host 127.0.0.1 --port {port} --rtu-over-tcp --json");
    let scan = run(&format!("scan modbus {host} --units 2-4 --timeout-ms 100")).await.json();
    assert_eq!((&scan["protocol"], &scan["units"][0]["unit_id"]), (&"modbus-rtu-over-tcp".into(), &3.into()));
    let read = run(&format!("read modbus {host} --unit 3 --register 41 --count 1")).await.json();
    assert_eq!(read["registers"][0]["unsigned"], 42, "{read:#}");
}
