//! The balance as metrics, as an admin page and as the one line a drain ends with.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::core::data::balance::Sheet;
use crate::core::data::payload::Signal;
use crate::core::report::routes::Page;
use crate::core::report::stats::Metric;
use crate::core::stage::host::Host;

/// `podgate_balance_items{signal,entry}` and `/v1/balance`.
pub fn register(host: &Arc<Host>) {
    type Entry = (&'static str, fn(&Sheet) -> f64);
    let entries: [Entry; 6] = [
        ("received", |sheet| sheet.received as f64),
        ("copied", |sheet| sheet.copied as f64),
        ("delivered", |sheet| sheet.delivered as f64),
        ("sampled_out", |sheet| sheet.sampled_out as f64),
        ("refused", |sheet| sheet.refused as f64),
        ("dropped", |sheet| sheet.dropped_total() as f64),
    ];
    for signal in Signal::ALL {
        for (entry, read) in entries {
            let balance = host.balance.clone();
            let metric = Metric::ReadCounter(Arc::new(move || read(&balance.sheet(signal))));
            let labels = [("signal", signal.name()), ("entry", entry)];
            host.stats.read(
                "podgate_balance_items",
                "Balance of items: received + copied = delivered + sampled_out + refused + on_disk + dropped + held.",
                &labels,
                metric,
            );
        }
        let balance = host.balance.clone();
        let metric = Metric::ReadGauge(Arc::new(move || balance.sheet(signal).on_disk as f64));
        host.stats.read(
            "podgate_balance_on_disk_items",
            "Items in a log on disk alone: read back when there is room in memory, or by the next start.",
            &[("signal", signal.name())],
            metric,
        );
        let balance = host.balance.clone();
        let metric = Metric::ReadGauge(Arc::new(move || balance.sheet(signal).held as f64));
        host.stats.read(
            "podgate_balance_held_items",
            "Items in calls, queues and stores.",
            &[("signal", signal.name())],
            metric,
        );
    }
    let balance = host.balance.clone();
    let answer = Arc::new(move |_: &_| {
        let sheets: BTreeMap<&str, Sheet> =
            Signal::ALL.into_iter().map(|signal| (signal.name(), balance.sheet(signal))).collect();
        Page::ok(serde_json::json!(sheets))
    });
    host.routes.add("/v1/balance", "account of items by signal", answer);
}

/// The final line: one clause per signal that saw items, every loss named with its reason.
pub fn line(sheets: &BTreeMap<&'static str, Sheet>) -> String {
    let mut text = String::from("balance:");
    for (signal, sheet) in sheets.iter().filter(|(_, sheet)| sheet.received + sheet.copied > 0) {
        let _ = write!(text, " {signal}: received {}", sheet.received);
        for (name, items) in [
            ("copied", sheet.copied),
            ("delivered", sheet.delivered),
            ("sampled_out", sheet.sampled_out),
            ("refused", sheet.refused),
            ("held on disk", sheet.on_disk),
        ] {
            if items > 0 || name == "delivered" {
                let _ = write!(text, ", {name} {items}");
            }
        }
        for (reason, items) in &sheet.dropped {
            let _ = write!(text, ", dropped({reason}) {items}");
        }
        let _ = write!(text, ", held {};", sheet.held);
    }
    if text == "balance:" {
        text.push_str(" nothing was received");
    }
    text.trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::data::balance::Balance;
    use crate::core::data::settlement::{ItemEnd, Settlement};
    use crate::core::error::Reason;

    #[test]
    fn the_final_line_names_every_loss() {
        let balance = Arc::new(Balance::default());
        let (receipt, mut share) = Settlement::receive(&balance, Signal::Traces, 10);
        share.split(6).end(ItemEnd::Delivered);
        share.split(3).end(ItemEnd::SampledOut);
        share.end(ItemEnd::Dropped(Reason::SHUTDOWN, ""));
        receipt.answer(Ok(()));
        let sheets = BTreeMap::from([("traces", balance.sheet(Signal::Traces)), ("logs", balance.sheet(Signal::Logs))]);
        assert_eq!(
            line(&sheets),
            "balance: traces: received 10, delivered 6, sampled_out 3, dropped(shutdown) 1, held 0"
        );
    }
}
