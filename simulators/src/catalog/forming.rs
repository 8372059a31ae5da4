//! Injection moulding machine, hydraulic press and furnace.

use super::{
    AlarmKind::{High, Low},
    Flag, KindSpec, alarmed, analog, f32_, i16_, i32_, u16_,
};

pub(super) const INJECTION_MOULDING: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("melt_temperature", "Melt temperature", "Cel", i16_(1), (205.0, 228.0, 4.0, 0.8)),
            High,
            255.0,
            3.0,
            "Melt too hot: material degrades",
        ),
        alarmed(
            analog("hydraulic_pressure", "Hydraulic pressure", "bar", i16_(1), (40.0, 142.0, 9.0, 2.0)),
            High,
            180.0,
            4.0,
            "Hydraulic pressure high: check valve",
        ),
    ],
    analogs: [
        analog("barrel_zone_1", "Barrel zone 1", "Cel", u16_(1), (190.0, 205.0, 2.0, 0.5)),
        analog("barrel_zone_2", "Barrel zone 2", "Cel", u16_(1), (198.0, 215.0, 2.0, 0.5)),
        analog("barrel_zone_3", "Barrel zone 3", "Cel", u16_(1), (204.0, 224.0, 2.0, 0.5)),
        analog("mould_temperature", "Mould temperature", "Cel", i16_(1), (35.0, 58.0, 2.5, 0.4)),
        analog("clamping_force", "Clamping force", "kN", u16_(0), (0.0, 1480.0, 40.0, 8.0)),
        analog("injection_speed", "Injection speed", "mm/s", f32_(1), (0.0, 92.0, 9.0, 2.0)),
        analog("cycle_time", "Cycle time", "s", f32_(2), (0.0, 24.5, 0.9, 0.15)),
        analog("screw_position", "Screw position", "mm", i32_(2), (12.0, 64.0, 38.0, 0.05)),
        analog("cushion", "Material cushion", "mm", u16_(2), (4.1, 4.6, 0.5, 0.08)),
    ],
    flags: [
        ("gate_closed", "Safety gate closed", Flag::NotInSetup),
        ("heating_on", "Heating on", Flag::Mostly),
        ("pump_on", "Pump on", Flag::Running),
    ],
    program: ("recipe", "Recipe", &["CAP-28MM-PP", "HOUSING-ABS", "CLIP-POM"]),
    seconds_per_part: 25,
    running_kw: 34.0,
    low_word_first: false,
};

pub(super) const HYDRAULIC_PRESS: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("oil_temperature", "Oil temperature", "Cel", i16_(1), (34.0, 49.0, 3.0, 0.3)),
            High,
            65.0,
            2.0,
            "Hydraulic oil too hot: check cooler",
        ),
        alarmed(
            analog("accumulator_pressure", "Accumulator pressure", "bar", i16_(1), (205.0, 212.0, 6.0, 1.0)),
            Low,
            170.0,
            4.0,
            "Accumulator pressure low: check nitrogen",
        ),
    ],
    analogs: [
        analog("press_force", "Press force", "kN", i32_(1), (0.0, 2350.0, 210.0, 18.0)),
        analog("main_pressure", "Main cylinder pressure", "bar", u16_(1), (18.0, 236.0, 16.0, 3.0)),
        analog("ram_position", "Ram position", "mm", i32_(2), (620.0, 310.0, 260.0, 0.05)),
        analog("ram_speed", "Ram speed", "mm/s", f32_(1), (0.0, 64.0, 18.0, 2.0)),
        analog("pump_current", "Pump current", "A", u16_(1), (14.0, 78.0, 7.0, 1.2)),
        analog("active_power", "Active power", "kW", u16_(2), (4.5, 41.0, 4.0, 0.8)),
        analog("filter_pressure_drop", "Filter pressure drop", "bar", f32_(3), (0.2, 0.9, 0.12, 0.03)),
        analog("oil_level", "Oil level", "%", u16_(1), (81.0, 78.0, 1.5, 0.2)),
        analog("die_temperature", "Die temperature", "Cel", i16_(1), (24.0, 62.0, 5.0, 0.5)),
    ],
    flags: [
        ("light_curtain_clear", "Light curtain clear", Flag::Mostly),
        ("pump_on", "Pump on", Flag::Running),
        ("die_clamped", "Die clamped", Flag::NotInSetup),
    ],
    program: ("recipe", "Recipe", &["DOOR-PANEL-L", "DOOR-PANEL-R", "CROSSBEAM-7"]),
    seconds_per_part: 18,
    running_kw: 41.0,
    low_word_first: true,
};

pub(super) const FURNACE: KindSpec = KindSpec {
    alarmed: [
        alarmed(
            analog("chamber_temperature", "Chamber temperature", "Cel", i16_(0), (780.0, 905.0, 9.0, 1.5)),
            High,
            960.0,
            8.0,
            "Chamber over temperature: burner trips next",
        ),
        alarmed(
            analog("gas_pressure", "Gas pressure", "mbar", i16_(1), (96.0, 92.0, 4.0, 0.8)),
            Low,
            70.0,
            3.0,
            "Gas pressure low: check supply",
        ),
    ],
    analogs: [
        analog("zone_1_temperature", "Zone 1 temperature", "Cel", u16_(1), (740.0, 872.0, 8.0, 1.2)),
        analog("zone_2_temperature", "Zone 2 temperature", "Cel", u16_(1), (770.0, 901.0, 8.0, 1.2)),
        analog("zone_3_temperature", "Zone 3 temperature", "Cel", u16_(1), (765.0, 894.0, 8.0, 1.2)),
        analog("flue_oxygen", "Flue gas oxygen", "%", f32_(2), (8.5, 3.4, 0.5, 0.1)),
        analog("gas_flow", "Gas flow", "m3/h", f32_(2), (6.0, 38.5, 3.0, 0.5)),
        analog("air_flow", "Air flow", "m3/h", i32_(1), (90.0, 410.0, 28.0, 4.0)),
        analog("carbon_potential", "Carbon potential", "%", u16_(2), (0.6, 0.85, 0.06, 0.01)),
        analog("belt_speed", "Belt speed", "mm/min", u16_(0), (0.0, 260.0, 12.0, 2.0)),
        analog("quench_temperature", "Quench oil temperature", "Cel", i16_(1), (52.0, 67.0, 4.0, 0.4)),
    ],
    flags: [
        ("burner_on", "Burner on", Flag::Running),
        ("door_closed", "Door closed", Flag::NotInSetup),
        ("atmosphere_ok", "Atmosphere in range", Flag::Mostly),
    ],
    program: ("recipe", "Recipe", &["HARDEN-42CRMO4", "CARBURIZE-16MN", "ANNEAL-C45"]),
    seconds_per_part: 90,
    running_kw: 18.0,
    low_word_first: false,
};
