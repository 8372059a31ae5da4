//! Compressor, conveyor and packaging line.

use super::{
    AlarmKind::{High, Low},
    Flag, KindSpec, alarmed, analog, f32_, i16_, i32_, u16_,
};

pub(super) const COMPRESSOR: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("discharge_temperature", "Discharge temperature", "Cel", i16_(1), (48.0, 82.0, 4.0, 0.5)),
            High,
            105.0,
            3.0,
            "Discharge too hot: check oil and cooler",
        ),
        alarmed(
            analog("tank_pressure", "Tank pressure", "bar", i16_(2), (7.4, 7.8, 0.35, 0.04)),
            Low,
            5.5,
            0.2,
            "Compressed air pressure low: look for leaks",
        ),
    ],
    analogs: [
        analog("motor_speed", "Motor speed", "/min", u16_(0), (0.0, 2960.0, 30.0, 6.0)),
        analog("motor_current", "Motor current", "A", u16_(1), (2.0, 64.0, 4.5, 0.8)),
        analog("active_power", "Active power", "kW", u16_(2), (0.9, 36.5, 2.5, 0.4)),
        analog("volume_flow", "Volume flow", "m3/min", f32_(3), (0.0, 6.1, 0.4, 0.06)),
        analog("oil_temperature", "Oil temperature", "Cel", i16_(1), (38.0, 71.0, 3.0, 0.4)),
        analog("oil_pressure", "Oil pressure", "bar", u16_(2), (0.4, 3.6, 0.25, 0.04)),
        analog("dew_point", "Pressure dew point", "Cel", i16_(1), (8.0, 3.2, 0.8, 0.15)),
        analog("vibration", "Vibration", "mm/s", f32_(3), (0.1, 3.1, 0.4, 0.1)),
        analog("run_hours", "Hours since service", "h", i32_(1), (1820.0, 1821.0, 0.3, 0.05)),
    ],
    flags: [
        ("motor_on", "Motor on", Flag::Running),
        ("load_valve_open", "Load valve open", Flag::Mostly),
        ("dryer_ok", "Dryer in order", Flag::NotInSetup),
    ],
    program: ("operating_mode", "Operating mode", &["LEADING", "BASE LOAD", "STANDBY FIRST"]),
    seconds_per_part: 60,
    running_kw: 36.5,
    low_word_first: true,
};

pub(super) const CONVEYOR: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("motor_temperature", "Motor temperature", "Cel", i16_(1), (26.0, 47.0, 4.0, 0.4)),
            High,
            70.0,
            2.0,
            "Conveyor motor too hot: check for a jam",
        ),
        alarmed(
            analog("belt_tension", "Belt tension", "kN", i16_(2), (4.7, 5.2, 0.3, 0.04)),
            Low,
            3.5,
            0.2,
            "Belt tension low: belt may slip",
        ),
    ],
    analogs: [
        analog("belt_speed", "Belt speed", "m/s", f32_(3), (0.0, 0.85, 0.06, 0.01)),
        analog("motor_current", "Motor current", "A", u16_(2), (0.3, 6.4, 0.8, 0.15)),
        analog("motor_frequency", "Drive frequency", "Hz", u16_(2), (0.0, 42.0, 2.5, 0.1)),
        analog("load_mass", "Load on the belt", "kg", i32_(1), (12.0, 184.0, 46.0, 3.0)),
        analog("throughput", "Throughput", "/min", u16_(0), (0.0, 38.0, 6.0, 1.0)),
        analog("gearbox_temperature", "Gearbox temperature", "Cel", i16_(1), (25.0, 44.0, 3.0, 0.3)),
        analog("vibration", "Vibration", "mm/s", f32_(3), (0.05, 1.2, 0.3, 0.08)),
        analog("active_power", "Active power", "kW", u16_(2), (0.1, 2.9, 0.4, 0.06)),
        analog("belt_misalignment", "Belt misalignment", "mm", i16_(1), (0.0, 1.5, 3.5, 0.2)),
    ],
    flags: [
        ("drive_on", "Drive on", Flag::Running),
        ("entry_sensor", "Entry sensor", Flag::Mostly),
        ("pull_cord_ok", "Pull cord in order", Flag::NotInSetup),
    ],
    program: ("program", "Program", &["LINE A TO B", "LINE A TO C", "BUFFER"]),
    seconds_per_part: 2,
    running_kw: 2.9,
    low_word_first: false,
};

pub(super) const PACKAGING_LINE: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("sealing_temperature", "Sealing temperature", "Cel", i16_(1), (138.0, 152.0, 3.0, 0.6)),
            High,
            175.0,
            3.0,
            "Sealing jaw too hot: film burns",
        ),
        alarmed(
            analog("air_pressure", "Air pressure", "bar", i16_(2), (6.2, 5.9, 0.25, 0.04)),
            Low,
            4.5,
            0.2,
            "Air pressure low: check supply",
        ),
    ],
    analogs: [
        analog("line_speed", "Line speed", "/min", u16_(0), (0.0, 72.0, 6.0, 1.0)),
        analog("film_tension", "Film tension", "N", f32_(2), (11.0, 27.0, 2.5, 0.5)),
        analog("film_remaining", "Film remaining", "m", i32_(1), (640.0, 610.0, 25.0, 0.5)),
        analog("fill_mass", "Fill mass", "g", f32_(1), (0.0, 502.0, 2.5, 0.8)),
        analog("jaw_pressure", "Jaw pressure", "bar", u16_(2), (0.0, 3.2, 0.2, 0.04)),
        analog("checkweigher_mean", "Check weigher mean", "g", u16_(1), (0.0, 501.5, 1.5, 0.3)),
        analog("glue_temperature", "Glue temperature", "Cel", u16_(1), (150.0, 164.0, 2.5, 0.5)),
        analog("active_power", "Active power", "kW", u16_(2), (0.6, 5.4, 0.5, 0.1)),
        analog("cabinet_temperature", "Cabinet temperature", "Cel", i16_(1), (25.0, 33.0, 1.5, 0.2)),
    ],
    flags: [
        ("guard_closed", "Guard closed", Flag::NotInSetup),
        ("film_ok", "Film present", Flag::Mostly),
        ("infeed_on", "Infeed on", Flag::Running),
    ],
    program: ("recipe", "Recipe", &["MUESLI-500G", "OATS-500G", "NUTS-200G"]),
    seconds_per_part: 1,
    running_kw: 5.4,
    low_word_first: false,
};
