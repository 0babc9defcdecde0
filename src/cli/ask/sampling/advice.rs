//! How traces are, and what waits and memory that asks for: the last part of `podgate explain sampling`. Pure.

use serde_json::Value;

use crate::cli::ask::{age, mebibytes, text};

/// Services that are told, those with the most traces.
const SERVICES_TOLD: usize = 5;

/// `sizes` of a sampler's page.
pub fn told(sizes: &Value) -> Vec<String> {
    let all = &sizes["all"];
    let traces = all["traces"].as_u64().unwrap_or(0);
    if traces == 0 {
        return Vec::new();
    }
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let seconds = age(number(&sizes["observed_seconds"]) as u64);
    let rate = &sizes["traces_per_second"];
    let mut lines = vec![format!(
        "  {traces} traces in {seconds}: {:.1} a second, {} in the busiest; {}",
        number(&rate["mean"]),
        rate["peak"],
        one(all)
    )];
    let mut services: Vec<&Value> = sizes["services"].as_array().into_iter().flatten().collect();
    services.sort_by_key(|service| std::cmp::Reverse(service["traces"].as_u64()));
    for service in services.into_iter().take(SERVICES_TOLD) {
        lines.push(format!("    with {}: {}", text(&service["service"]), one(service)));
    }
    recommended(&sizes["recommended"], &mut lines);
    lines
}

/// Of all traces, or of those with one service.
fn one(sizes: &Value) -> String {
    let of = |what: &str, share: &str| sizes[what][share].as_u64().unwrap_or(0);
    format!(
        "half of them have up to {} spans and {:.1} KiB and last {} ms, 99 % up to {}, {:.1} and {}; their spans come within {} ms \
         (99 %: {} ms)",
        of("spans", "p50"),
        of("bytes", "p50") as f64 / 1024.0,
        of("duration_ms", "p50"),
        of("spans", "p99"),
        of("bytes", "p99") as f64 / 1024.0,
        of("duration_ms", "p99"),
        of("spread_ms", "p50"),
        of("spread_ms", "p99"),
    )
}

fn percent(value: &Value) -> f64 {
    value["share_cut"].as_f64().unwrap_or(0.0) * 100.0
}

fn recommended(advice: &Value, lines: &mut Vec<String>) {
    if advice.is_null() {
        lines.push("  too few traces were seen for advice on waits and sizes".to_owned());
        return;
    }
    let (wait, present) = (&advice["decision_wait"], &advice["decision_wait"]["present"]);
    let choices = wait["choices"].as_array().into_iter().flatten();
    let choices: Vec<String> =
        choices.map(|choice| format!("{}s {:.2} %", choice["seconds"], percent(choice))).collect();
    lines.push(format!(
        "  advice: decision_wait {}s cuts {:.2} % of the traces; {}s, as it is, {:.2} % (of {})",
        wait["seconds"],
        percent(wait),
        present["seconds"],
        percent(present),
        choices.join(", "),
    ));
    let sizes = |of: &Value, shown: &dyn Fn(&Value) -> String| {
        let choices = of.as_array().into_iter().flatten();
        let told = choices.map(|choice| format!("{} cuts {:.0} %", shown(&choice["size"]), percent(choice)));
        told.collect::<Vec<_>>().join(", ")
    };
    let mib = |bytes: &Value| format!("{:.0} MiB", mebibytes(bytes));
    lines.push(format!(
        "    with that wait, in the busiest second: num_traces {}",
        sizes(&advice["num_traces"], &|size| format!("{:.0}", size.as_f64().unwrap_or(0.0)))
    ));
    lines.push(format!(
        "    max_bytes {}; the first needs a memory limit of {}",
        sizes(&advice["max_bytes"], &mib),
        mib(&advice["memory_limit_bytes"])
    ));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_and_the_advice_that_follows_are_told_in_sentences() {
        let of = |p50: u64, p99: u64| json!({ "p50": p50, "p99": p99 });
        let sizes = |traces: u64| {
            json!({ "traces": traces, "spans": of(9, 79), "bytes": of(8191, 65535), "duration_ms": of(223, 3583),
                "spread_ms": of(111, 1791), "service": "cart" })
        };
        let choice = |size: f64, cut: f64| json!({ "size": size, "share_cut": cut });
        let page = json!({
            "observed_seconds": 72.0, "traces_per_second": { "mean": 410.25, "peak": 900 },
            "all": sizes(29_538), "services": [sizes(12)],
            "recommended": {
                "decision_wait": { "seconds": 5, "share_cut": 0.0005, "present": { "seconds": 10.0, "share_cut": 0.0001 },
                    "choices": [{ "seconds": 2, "share_cut": 0.012 }, { "seconds": 5, "share_cut": 0.0005 }] },
                "num_traces": [choice(5625.0, 0.0), choice(2813.0, 0.375)],
                "max_bytes": [choice(64.0 * 1048576.0, 0.0)],
                "memory_limit_bytes": 170_459_000,
            },
        });
        let lines = told(&page);
        let one = "half of them have up to 9 spans and 8.0 KiB and last 223 ms, 99 % up to 79, 64.0 and 3583; their spans come within 111 \
                   ms (99 %: 1791 ms)";
        let said = [
            format!("  29538 traces in 1 min 12 s: 410.2 a second, 900 in the busiest; {one}"),
            format!("    with cart: {one}"),
            "  advice: decision_wait 5s cuts 0.05 % of the traces; 10.0s, as it is, 0.01 % (of 2s 1.20 %, 5s 0.05 %)"
                .to_owned(),
            "    with that wait, in the busiest second: num_traces 5625 cuts 0 %, 2813 cuts 38 %".to_owned(),
            "    max_bytes 64 MiB cuts 0 %; the first needs a memory limit of 163 MiB".to_owned(),
        ];
        assert_eq!(lines, said);
        assert!(told(&json!({ "all": { "traces": 0 } })).is_empty());
        let few = told(&json!({ "all": sizes(7), "recommended": null }));
        assert!(few.last().is_some_and(|last| last.contains("too few")), "{few:?}");
    }
}
