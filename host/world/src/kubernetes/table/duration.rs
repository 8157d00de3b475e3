//! Times as `kubectl get` shows them.

use jiff::Timestamp;

/// How long ago a time is, in two units at most.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => human(now.duration_since(then).as_secs()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// `HumanDuration` of apimachinery.
fn human(seconds: i64) -> String {
    let two = |big: i64, small: i64, a: &str, b: &str| match small {
        0 => format!("{big}{a}"),
        _ => format!("{big}{a}{small}{b}"),
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, seconds % 60, "m", "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, minutes % 60, "h", "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, hours % 24, "d", "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 8 * 365 => two(days / 365, days % 365, "y", "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn two_units_at_most() {
        let shown = [5, 119, 125, 599, 600, 3 * 3600, 8 * 3600, 50 * 3600, 9 * 86400].map(human);
        assert_eq!(shown, ["5s", "119s", "2m5s", "9m59s", "10m", "3h", "8h", "2d2h", "9d"]);
    }
}
