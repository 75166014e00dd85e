//! An order to erase every disk.

use std::path::Path;

use super::{Agent, Doing};
use crate::agent::wipe::{Certificate, Options, Phase, wipe};
use crate::agent::{AgentError, discover::disks, machine};
use crate::appliance::Progress;

impl Agent {
    /// Erases every disk of the machine, and tells how. One that cannot be erased is told, and tried again.
    pub(super) async fn wipe(&mut self, who: &str) -> Result<(), AgentError> {
        self.doing.send_replace(Doing::new("wiping", ""));
        // The appliance has to agree before the first disk is touched.
        self.check_in().await?;
        let erased = self.toil(who, |tell| {
            let all = disks::read(Path::new("/"));
            let fixed = all.into_iter().filter(|disk| !disk.removable && !disk.read_only);
            fixed.map(|disk| one(&disk.name, tell)).collect::<Result<Vec<Certificate>, String>>()
        });
        match erased.await? {
            Ok(certificates) => {
                let lines: Vec<String> = certificates.iter().map(|one| one.statement.clone()).collect();
                let told: Result<Vec<_>, _> = certificates.iter().map(serde_json::to_value).collect();
                let told = told.map_err(|error| AgentError::machine("tell what was erased", error))?;
                self.persist(async |client| client.tell("/agent/v2/wiped", &told).await).await?;
                for line in lines {
                    self.console.say(&line);
                }
                self.doing.send_replace(Doing::new("waiting", "its disks are erased"));
                Ok(())
            }
            Err(error) => {
                self.console.say(&format!("{who}: {error}"));
                self.doing.send_replace(Doing::new("failed", error));
                self.check_in().await?;
                tokio::time::sleep(super::INSTALL_AGAIN).await;
                Ok(())
            }
        }
    }
}

fn one(name: &str, tell: &dyn Fn(Doing)) -> Result<Certificate, String> {
    let path = Path::new("/dev").join(name);
    let erased = wipe(&path, &Options::default(), &|| machine::clock().0, &mut |progress| {
        let what = match progress.phase {
            Phase::Erasing => "erases",
            Phase::Verifying => "reads back",
        };
        tell(Doing {
            progress: Some(Progress { done: progress.done, total: progress.total }),
            ..Doing::new("wiping", format!("{what} {name}"))
        });
    });
    erased.map_err(|error| format!("{name} is not erased: {error}"))
}
