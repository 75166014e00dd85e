//! Does `firstlight image …`.

use hyper::Method;

use crate::appliance::views::{GcView, ImageView, VerifyView};

use super::super::args::Image;
use super::super::client::{Client, segment};
use super::super::manifest::Manifest;
use super::super::show::{self, answer, bytes};
use super::super::{CliError, import};
use super::Context;

pub async fn image(client: &Client, command: Image, context: Context) -> Result<(), CliError> {
    match command {
        Image::Import { manifests } => {
            // A mistake in the last one is told before the first is sent.
            let manifests: Vec<Manifest> =
                manifests.iter().map(|path| Manifest::read(path)).collect::<Result<_, _>>()?;
            for manifest in manifests {
                let imported = import::import(client, manifest, context.quiet).await?;
                let (view, size) = (&imported.image, bytes(imported.image.size));
                let how = if imported.unchanged { "is there already" } else { "imported" };
                context.done(&format!("{} {how}, {size}", view.image.image))?;
            }
            Ok(())
        }
        Image::List => {
            let images: Vec<ImageView> = client.get("/images").await?;
            answer(context.output, &images, |images| show::images(images))
        }
        Image::Show { image } => {
            let image: ImageView = client.get(&format!("/images/{}", segment(image))).await?;
            answer(context.output, &image, show::image)
        }
        Image::Verify { image } => {
            let path = format!("/images/{}/verify", segment(&image));
            let found: VerifyView = client.toil(&path).await?;
            answer(context.output, &found, |found| {
                format!(
                    "{image}: {} files, {}, {} wrong\n",
                    found.artifacts,
                    bytes(found.bytes),
                    found.problems.len()
                )
            })?;
            match found.problems.as_slice() {
                [] => Ok(()),
                problems => Err(CliError::Local(format!(
                    "{image} is damaged: {}; remove it, run `firstlight image gc`, import it again",
                    problems.join("; ")
                ))),
            }
        }
        Image::Remove { image } => {
            client.order(Method::DELETE, &format!("/images/{}", segment(&image))).await?;
            context.done(&format!("removed {image}; `firstlight image gc` frees its files"))
        }
        Image::Gc => {
            let removed: GcView = client.toil("/images/gc").await?;
            answer(context.output, &removed, |removed| {
                format!("removed {} files, {}\n", removed.removed, bytes(removed.bytes))
            })
        }
    }
}
