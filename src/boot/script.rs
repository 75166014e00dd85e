//! A decision as an iPXE script, from the templates in `ipxe-scripts/`.

use std::net::IpAddr;

use minijinja::{Environment, Value, context};
use thiserror::Error;

use super::next::{Action, Boot};
use crate::model::{MacAddr, Node};

/// The templates that come with the program.
const BUILT_IN: [(&str, &str); 4] = [
    ("boot.ipxe", include_str!("../../ipxe-scripts/boot.ipxe")),
    ("local.ipxe", include_str!("../../ipxe-scripts/local.ipxe")),
    ("memtest.ipxe", include_str!("../../ipxe-scripts/memtest.ipxe")),
    ("wait.ipxe", include_str!("../../ipxe-scripts/wait.ipxe")),
];

/// Seconds between two questions of a node that waits, and of one that an operator has to free.
const RETRY_SECONDS: (u32, u32) = (3, 15);

/// A template that cannot be used.
#[derive(Debug, Error)]
#[error("ipxe-scripts: {0:#}")]
pub struct ScriptError(#[from] minijinja::Error);

/// The scripts' templates, parsed.
#[derive(Debug, Clone)]
pub struct Scripts {
    templates: Environment<'static>,
}

/// What a script needs beside the decision.
#[derive(Debug, Clone)]
pub struct ScriptContext<'a> {
    /// The node it is for.
    pub node: &'a Node,
    /// The interface it boots from.
    pub mac: MacAddr,
    /// Its address.
    pub ip: IpAddr,
    /// The appliance's URL on the node's network, without a slash at the end.
    pub base_url: &'a str,
    /// The one-time token for the node's reports.
    pub token: &'a str,
    /// More for the kernel's command line: its IPv6 address; for the ramdisk, what its agent needs.
    pub arguments: &'a [String],
}

struct Initrd {
    name: String,
    url: String,
}

impl Scripts {
    /// Parses the built-in templates; `overrides` (file name, text) stand in for those of the same name.
    ///
    /// # Errors
    /// When a template does not parse.
    pub fn new(overrides: &[(String, String)]) -> Result<Self, ScriptError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        for (name, text) in BUILT_IN {
            templates.add_template(name, text)?;
        }
        for (name, text) in overrides {
            templates.add_template_owned(name.clone(), text.clone())?;
        }
        Ok(Self { templates })
    }

    /// The script for a decision.
    ///
    /// # Errors
    /// When a template uses what is not there.
    pub fn render(&self, action: &Action, about: &ScriptContext<'_>) -> Result<String, ScriptError> {
        let script_url = format!("{}/boot/{}/script.ipxe", about.base_url, about.mac.hyphenated());
        let name = about.node.name.as_str();
        let (template, values) = match action {
            Action::Boot(boot) | Action::Agent(boot, _) => {
                let (kernel, initrds, cmdline) = netboot(boot, about);
                let initrds: Vec<Value> = initrds
                    .into_iter()
                    .map(|i| Value::from_pairs([("name", i.name), ("url", i.url)]))
                    .collect();
                let image = boot.image.to_string();
                let values = context! { node => name, image, kernel, initrds, cmdline, script_url };
                ("boot.ipxe", values)
            }
            Action::Local => ("local.ipxe", context! { node => name, script_url }),
            Action::Memtest => {
                let files = format!("{}/boot/files", about.base_url);
                ("memtest.ipxe", context! { node => name, files, script_url })
            }
            Action::Wait(message) | Action::Refuse(message) => {
                let retry = if matches!(action, Action::Wait(_)) { RETRY_SECONDS.0 } else { RETRY_SECONDS.1 };
                let (mac, ip) = (about.mac.to_string(), about.ip.to_string());
                let message = printable(message);
                ("wait.ipxe", context! { node => name, mac, ip, message, retry_seconds => retry, script_url })
            }
        };
        let mut script = self.templates.get_template(template)?.render(values)?;
        // The engine drops the last line end, without which iPXE does not run the last line.
        script.push('\n');
        Ok(script)
    }
}

/// The script for a machine that cannot be given one now: it tells why and asks again.
pub fn trouble(message: &str, script_url: &str) -> String {
    let message = printable(message);
    format!(
        "#!ipxe\n:again\necho Firstlight: {message}\nsleep 5\nchain --replace --autofree {script_url} || goto again\n"
    )
}

/// URL of the kernel, of the ramdisks, and the whole command line.
fn netboot(boot: &Boot, about: &ScriptContext<'_>) -> (String, Vec<Initrd>, String) {
    let folder =
        format!("{}/images/{}/{}/{}", about.base_url, boot.image.name, boot.image.version(), boot.arch);
    let initrds: Vec<Initrd> = (0..boot.netboot.initrd.len())
        .map(|index| Initrd { name: format!("initrd{index}"), url: format!("{folder}/initrd{index}") })
        .collect();
    // A kernel that was started as an EFI program finds its ramdisks by these names; one that iPXE laid into
    // memory itself, on BIOS, passes over them.
    let mut cmdline: Vec<String> = initrds.iter().map(|initrd| format!("initrd={}", initrd.name)).collect();
    cmdline.push(boot.netboot.cmdline.trim().to_owned());
    cmdline.push(format!("firstlight.url={}", about.base_url));
    cmdline.push(format!("firstlight.node={}", about.node.name));
    cmdline.push(format!("firstlight.mac={}", about.mac));
    cmdline.push(format!("firstlight.token={}", about.token));
    cmdline.extend(about.arguments.iter().cloned());
    // As PXELINUX's IPAPPEND 2 gives it; Debian's and Red Hat's ramdisks know it.
    cmdline.push(format!("BOOTIF=01-{}", about.mac.hyphenated()));
    cmdline.retain(|part| !part.is_empty());
    (format!("{folder}/kernel"), initrds, cmdline.join(" "))
}

/// Text that is safe behind iPXE's `echo`: no line ends, no expansion, no operators.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .map(|c| if matches!(c, '$' | '{' | '}' | '|' | '&' | '\\' | '"' | '\'' | '#') { ' ' } else { c })
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arch, Artifact, Netboot, NodeId, Sha256Digest, State, Timestamp};

    fn node() -> Node {
        Node {
            state: State::Enrolled,
            ..Node::discovered(
                NodeId(1),
                "n1".parse().expect("a name"),
                MacAddr([2, 0, 0, 0, 0, 1]),
                Timestamp(0),
            )
        }
    }

    fn render(action: &Action) -> String {
        render_from(action, "http://10.77.0.1:8080", &[])
    }

    fn render_from(action: &Action, base_url: &str, arguments: &[String]) -> String {
        let node = node();
        let about = ScriptContext {
            node: &node,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            ip: IpAddr::from([10, 77, 0, 100]),
            base_url,
            token: "c0ffee",
            arguments,
        };
        Scripts::new(&[]).expect("the built-in templates parse").render(action, &about).expect("they render")
    }

    #[test]
    fn boots_with_everything_the_node_needs() {
        let artifact = |name: &str| Artifact { name: name.into(), sha256: Sha256Digest([0; 32]), size: 1 };
        let boot = Boot {
            image: "demo@1".parse().expect("an image"),
            arch: Arch::X86_64,
            netboot: Netboot {
                kernel: artifact("vmlinuz"),
                initrd: vec![artifact("a.img"), artifact("b.img")],
                cmdline: " console=ttyS0 ".into(),
            },
        };
        let script = render(&Action::Boot(boot.clone()));
        assert!(script.starts_with("#!ipxe\n"), "{script}");
        for line in [
            "kernel http://10.77.0.1:8080/images/demo/1/x86_64/kernel initrd=initrd0 initrd=initrd1 console=ttyS0 \
             firstlight.url=http://10.77.0.1:8080 firstlight.node=n1 firstlight.mac=02:00:00:00:00:01 \
             firstlight.token=c0ffee BOOTIF=01-02-00-00-00-00-01 ||",
            "initrd --name initrd0 http://10.77.0.1:8080/images/demo/1/x86_64/initrd0 ||",
            "initrd --name initrd1 http://10.77.0.1:8080/images/demo/1/x86_64/initrd1 ||",
        ] {
            assert!(script.contains(line), "no '{line}' in\n{script}");
        }
        // Who asks over IPv6 gets all over IPv6.
        let told = ["firstlight.ip6=fd00:77::9/64".to_owned()];
        let script = render_from(&Action::Boot(boot), "http://[fd00:77::1]:8080", &told);
        for line in [
            "kernel http://[fd00:77::1]:8080/images/demo/1/x86_64/kernel initrd=initrd0 ",
            " firstlight.url=http://[fd00:77::1]:8080 ",
            " firstlight.ip6=fd00:77::9/64 ",
            "initrd --name initrd1 http://[fd00:77::1]:8080/images/demo/1/x86_64/initrd1 ||",
        ] {
            assert!(script.contains(line), "no '{line}' in\n{script}");
        }
        assert!(!script.contains("10.77."), "{script}");
    }

    #[test]
    fn waits_and_asks_again_and_a_message_cannot_become_a_command() {
        let script = render(&Action::Wait("a reason\n|| shell ${net0/mac} && reboot".into()));
        assert!(script.contains("\necho a reason?   shell   net0/mac     reboot\n"), "{script}");
        assert!(
            script.contains(
                "chain --replace --autofree http://10.77.0.1:8080/boot/02-00-00-00-00-01/script.ipxe"
            )
        );
        assert_eq!(script.matches("shell").count(), 1);
    }

    #[test]
    fn an_override_that_does_not_parse_is_refused() {
        let error = Scripts::new(&[("boot.ipxe".into(), "{{ node ".into())]).expect_err("a broken template");
        assert!(error.to_string().contains("boot.ipxe"), "{error}");
    }
}
