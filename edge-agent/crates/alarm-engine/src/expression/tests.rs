use proptest::prelude::*;

use super::*;

/// What the text says of the tags `a`, `b` and `c`.
fn run(text: &str, values: [Option<f64>; 3]) -> Option<bool> {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let position =
        |tag: &TagId| ["a", "b", "c"].iter().position(|name| *name == tag.as_str()).ok_or(tag.clone());
    expression.bind(position).expect("a, b or c").run(|tag| values[tag])
}

fn error(text: &str) -> String {
    Expression::parse(text).expect_err(text).to_string()
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    let (yes, no) = (Some(1.0), Some(0.0));
    assert_eq!(run("a or b and c", [yes, no, no]), Some(true));
    assert_eq!(run("(a or b) and c", [yes, no, no]), Some(false));
    assert_eq!(run("not a and b", [yes, no, no]), Some(false));
    assert_eq!(run("not (a and b)", [yes, no, no]), Some(true));
    assert_eq!(run("!a || b && !c", [yes, yes, no]), Some(true));
    assert_eq!(run("NOT a OR true AND c == false", [yes, yes, no]), Some(true));
}

#[test]
fn comparisons_compare_tags_and_numbers_on_either_side() {
    let values = [Some(-5.0), Some(80.5), Some(80.5)];
    for (text, truth) in [
        ("a<-4.5", true),
        ("a <= -5", true),
        ("80.5 >= b", true),
        ("b > c", false),
        ("b == c", true),
        ("b != c", false),
        ("1e2 > b", true),
    ] {
        assert_eq!(run(text, values), Some(truth), "{text}");
    }
}

#[test]
fn a_tag_without_a_good_value_is_unknown_and_so_is_what_depends_on_it() {
    let values = [Some(0.0), Some(1.0), None];
    for (text, truth) in [
        ("c", None),
        ("not c", None),
        ("c > 1", None),
        ("c == c", None),
        ("a and c", Some(false)),
        ("c and a", Some(false)),
        ("b and c", None),
        ("b or c", Some(true)),
        ("c or b", Some(true)),
        ("a or c", None),
    ] {
        assert_eq!(run(text, values), truth, "{text}");
    }
}

#[test]
fn a_mistake_is_told_with_its_place_what_stands_there_and_what_may() {
    for (text, message) in [
        ("", "at character 1: the end where a tag, a number, \"not\" or \"(\" is needed"),
        ("pump_on and", "at character 12: the end where a tag, a number, \"not\" or \"(\" is needed"),
        ("flow < or a", "at character 8: \"or\" where a tag or a number is needed"),
        ("flow = 3", "at character 6: '=' where a comparison with two signs, ==, is needed"),
        ("flow 3", "at character 6: \"3\" where \"and\", \"or\" or the end is needed"),
        ("a and 3", "at character 8: the end where a comparison of the number before it is needed"),
        ("(a or b", "at character 8: the end where \"and\", \"or\" or \")\" is needed"),
        ("a) or b", "at character 2: \")\" where \"and\", \"or\" or the end is needed"),
        ("1 < a < 5", "at character 7: \"<\" where \"and\", \"or\" or the end is needed"),
        ("ä and b", "at character 1: 'ä' where a tag, a number, an operator or a parenthesis is needed"),
        ("a > -b", "at character 5: \"-b\" where a tag or a number is needed"),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn length_depth_and_tags_are_bounded() {
    assert_eq!(error(&"a".repeat(513)), "the expression has 513 bytes; at most 512 are allowed");
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(16)).is_ok());
    assert_eq!(error(&nested(17)), "at character 18: nested deeper than 16 levels");
    assert_eq!(error(&"not ".repeat(100)), "at character 69: nested deeper than 16 levels");
    let tags = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>().join(" or ");
    assert_eq!(Expression::parse(&tags(32)).expect("allowed").tags().len(), 32);
    assert!(error(&tags(33)).contains("more than 32 different tags"));
}

/// The deepest text with an "or" and an "and" waiting at every level.
#[test]
fn the_stack_of_a_program_holds_the_deepest_expression() {
    let text = format!("{}a and b{}", "a or b and (".repeat(16), ")".repeat(16));
    assert_eq!(run(&text, [Some(0.0), Some(1.0), None]), Some(false));
}

#[test]
fn a_tag_that_is_not_there_is_named() {
    let expression = Expression::parse("here and gone").expect("fine");
    let missing = expression
        .bind(|tag| (tag.as_str() == "here").then_some(0).ok_or(tag.clone()))
        .expect_err("one is gone");
    assert_eq!(missing.as_str(), "gone");
}

/// Pieces of expressions in any order, so that the parser gets far.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a"),
        Just("b"),
        Just("and"),
        Just("or"),
        Just("not"),
        Just("("),
        Just(")"),
        Just("<"),
        Just(">="),
        Just("=="),
        Just("3"),
        Just("-1.5"),
        Just("true"),
        Just("!"),
        Just("&&"),
    ];
    proptest::collection::vec(piece, 0..120).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Expression::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn whatever_parses_runs_without_panic(text in soup(), a in any::<Option<f64>>(), b in any::<Option<f64>>()) {
        if let Ok(expression) = Expression::parse(&text) {
            let program = expression.bind(|tag| Ok::<_, ()>(usize::from(tag.as_str() != "a"))).expect("any tag");
            program.run(|tag| [a, b][tag]);
        }
    }
}
