//! What a machine boots next. Pure: tables, templates and a decision; no I/O.
//!
//! [`firmware`]: which boot file which firmware gets, so that it ends up in iPXE. [`next`]: what a node's iPXE
//! is then told to do, from the node's state and pins; [`instruct`]: what its agent is told. [`script`]: that decision as an iPXE script, from the
//! templates in `ipxe-scripts/`. [`explain`]: where a boot stopped, and why.

pub mod explain;
pub mod firmware;
pub mod instruct;
pub mod next;
pub mod script;

pub use explain::{Explanation, explain};
pub use firmware::{BootFile, ClientKind, FirmwareEntry, FirmwareTable, Tool, Transport, boot_file};
pub use instruct::{HostIdentity, InstallOrder, InstructContext, Instruction, Place, instruct};
pub use next::{Action, next_action};
pub use script::{ScriptContext, Scripts};
