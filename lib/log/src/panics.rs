//! Panics as log lines.

use std::panic::PanicHookInfo;

/// Makes every panic an error line with thread and place; the former hook (text and backtrace on standard error) runs first.
pub(crate) fn log_panics() {
    let former = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        former(info);
        let thread = std::thread::current();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), place, "panicked: {}", message(info));
    }));
}

fn message<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("with a value that is no text")
}
