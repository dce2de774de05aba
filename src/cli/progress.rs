//! How far many messages are.

use std::fmt;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::human;
use super::out::Context;

/// On standard error, and only when somebody looks: with its end when the input has one.
pub(super) fn progress_bar(size: Option<u64>, context: &Context) -> ProgressBar {
    if !context.notes.is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::no_length(), "{spinner} {human_pos} messages, {rate} a second"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // When it cannot be written there is nobody who looks.
        let _ = out.write_str(&human::rate(state.per_sec()));
    };
    let style = style.with_key("rate", rate);
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    bar.with_style(style)
}
