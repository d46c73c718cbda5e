//! `--list-controls`: the controls of cameras, in the format of fmp4streamer.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::settings::{Feed, Source};
use crate::engine::controls::{self, DriverControl, Kind};
use crate::engine::plan::{Capture, Plan};
use crate::host;

const ADVICE: &str = "\nTo set one, put it into `controls` of the camera's feed, as {NAME: VALUE}, or as \
    NAME = VALUE below the device in a file of fmp4streamer.";

/// The controls of every camera of this machine.
pub(super) fn list_all() -> anyhow::Result<String> {
    host::init()?;
    let devices: Vec<_> = host::devices().into_iter().map(|device| device.path).collect();
    if devices.is_empty() {
        anyhow::bail!("no camera is found");
    }
    list(&devices)
}

/// The controls of the cameras that feeds name.
pub(super) fn list_for_feeds(feeds: &[Feed]) -> anyhow::Result<String> {
    let mut seen = BTreeSet::new();
    let mut devices = Vec::new();
    for feed in feeds {
        if let Source::V4l2(device) = &feed.source
            && seen.insert(device)
        {
            devices.push(device.clone());
        }
    }
    if devices.is_empty() {
        anyhow::bail!("no feed of the configuration is a camera (`v4l2`)");
    }
    list(&devices)
}

/// The plan with the controls that its camera has; prints a warning for others.
pub(super) fn resolved(plan: Plan, capture: Capture) -> anyhow::Result<Plan> {
    let listed = runtime()?.block_on(controls::list(&plan.feed));
    let (plan, warnings) = controls::resolved(plan, capture, listed.as_ref());
    for warning in warnings {
        super::warn(&warning);
    }
    Ok(plan)
}

/// Lists the controls of these devices.
///
/// # Errors
/// No device can be queried.
fn list(devices: &[PathBuf]) -> anyhow::Result<String> {
    let runtime = runtime()?;
    let mut text = String::new();
    let mut failed = None;
    for device in devices {
        match runtime.block_on(controls::query(device)) {
            Ok(offered) => text += &description(device, &offered),
            Err(why) => {
                let why = format!("{}: {why}", device.display());
                super::warn(&why);
                failed.get_or_insert(why);
            }
        }
    }
    match failed {
        Some(why) if text.is_empty() => anyhow::bail!("no controls can be listed: {why}"),
        Some(_) | None => Ok(text + ADVICE),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn description(device: &Path, offered: &[DriverControl]) -> String {
    let (name, driver) = described(device);
    let mut text =
        format!("Device: {}\nName: {name}\nDriver: {driver}\n\nControls\n", device.display());
    let mut class = "";
    for control in offered {
        if control.class != class {
            class = &control.class;
            writeln!(text, "\n{class}").expect("a String takes all");
        }
        writeln!(text, "{}", line(control)).expect("a String takes all");
    }
    text.push('\n');
    text
}

/// `brightness = 0<TAB>( default: 0 min: -64 max: 64 step: 1)`
fn line(control: &DriverControl) -> String {
    let DriverControl { name, value, default, kind, .. } = control;
    let menu = |choices: &[(i64, String)]| {
        let label = |wanted: i64| {
            let found = choices.iter().find(|(index, _)| *index == wanted);
            found.map_or_else(|| wanted.to_string(), |(_, label)| label.clone())
        };
        let labels: Vec<_> = choices.iter().map(|(_, label)| format!("'{label}'")).collect();
        let (value, default, labels) = (label(*value), label(*default), labels.join(" "));
        format!("{name} = {value}\t( default: {default} values: {labels} )")
    };
    match kind {
        Kind::Number { min, max, step } => {
            let step = if *step == 1 { String::new() } else { format!(" step: {step}") };
            format!("{name} = {value}\t( default: {default} min: {min} max: {max}{step})")
        }
        Kind::Switch => format!("{name} = {value}\t( default: {default} min: 0 max: 1)"),
        Kind::Menu(choices) => menu(choices),
        Kind::Numbers(choices) => {
            let choices: Vec<_> =
                choices.iter().map(|(index, number)| (*index, number.to_string())).collect();
            menu(&choices)
        }
        Kind::Button => format!("{name} = \t( is pressed by yes )"),
        Kind::Other => format!("{name} = \t( cannot be set )"),
    }
}

/// The name and the driver of a device; `unknown` where sysfs has none.
fn described(device: &Path) -> (String, String) {
    let unknown = || "unknown".to_owned();
    let node = std::fs::canonicalize(device).ok();
    let node = node.as_deref().and_then(Path::file_name);
    let Some(node) = node else { return (unknown(), unknown()) };
    let class = Path::new("/sys/class/video4linux").join(node);
    let name = std::fs::read_to_string(class.join("name")).ok();
    let driver = std::fs::canonicalize(class.join("device/driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    (name.map_or_else(unknown, |name| name.trim().to_owned()), driver.unwrap_or_else(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_listed_as_fmp4streamer_lists_them() {
        let offered = controls::parse(
            "User Controls\n\n \
             brightness 0x00980900 (int) : min=-64 max=64 step=1 default=0 value=12\n \
             contrast 0x00980901 (int) : min=0 max=90 step=10 default=30 value=30\n \
             hflip 0x00980914 (bool) : default=0 value=1\n \
             power_line_frequency 0x00980918 (menu) : min=0 max=2 default=1 value=2 (60 Hz)\n\
             \t\t\t\t1: 50 Hz\n\t\t\t\t2: 60 Hz\n\nCamera Controls\n\n \
             iso 0x009a0917 (intmenu): min=0 max=1 default=0 value=1 (200 0xc8)\n\
             \t\t\t\t0: 100 (0x64)\n\t\t\t\t1: 200 (0xc8)\n",
        );
        assert_eq!(
            description(Path::new("/dev/nowhere"), &offered),
            "Device: /dev/nowhere\nName: unknown\nDriver: unknown\n\nControls\n\n\
             User Controls\n\
             brightness = 12\t( default: 0 min: -64 max: 64)\n\
             contrast = 30\t( default: 30 min: 0 max: 90 step: 10)\n\
             hflip = 1\t( default: 0 min: 0 max: 1)\n\
             power_line_frequency = 60 Hz\t( default: 50 Hz values: '50 Hz' '60 Hz' )\n\n\
             Camera Controls\n\
             iso = 200\t( default: 100 values: '100' '200' )\n\n"
        );
    }
}
