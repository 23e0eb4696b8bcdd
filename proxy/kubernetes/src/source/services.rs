//! The watches of Services, into the view.

use std::time::Instant;

use tidegate_core::ServiceName;

use crate::{
    api::Resource,
    follow::{Follow, Gone, Listing, Read},
    intern::Intern,
    meta::Key,
    service::{self, Service},
    view::SharedView,
};

/// One watch of Services.
pub(super) struct ServiceFollow {
    view: SharedView,
    intern: Intern,
    /// It has listed at least once.
    listed: bool,
}

impl ServiceFollow {
    pub(super) fn new(view: SharedView) -> Self {
        Self { view, intern: Intern::default(), listed: false }
    }
}

impl Follow for ServiceFollow {
    type Object = Service;

    const RESOURCE: Resource = Resource { group: "", version: "v1", plural: "services" };

    fn read(&mut self, json: &str, _: Option<Instant>) -> Result<Read<Service>, String> {
        service::read(json, &mut self.intern)
    }

    async fn listed(&mut self, listing: Listing<Service>, _: Instant) -> Result<(), Gone> {
        let Listing { objects, lacking, .. } = listing;
        let is_first = !std::mem::replace(&mut self.listed, true);
        self.view.change(|view| {
            for key in lacking {
                view.services.remove(&name(key));
            }
            view.services.extend(objects.into_iter().map(|(key, service)| (name(key), service)));
            view.unlisted -= usize::from(is_first);
            true
        });
        Ok(())
    }

    async fn applied(&mut self, key: Key, service: Service, _: Instant) -> Result<(), Gone> {
        self.view.change(|view| {
            let is_news = view.services.get(&name(key.clone())) != Some(&service);
            view.services.insert(name(key), service);
            is_news
        });
        Ok(())
    }

    async fn deleted(&mut self, key: Key, _: Instant) -> Result<(), Gone> {
        self.view.change(|view| view.services.remove(&name(key)).is_some());
        Ok(())
    }
}

fn name(Key { namespace, name }: Key) -> ServiceName {
    ServiceName::new(namespace, name)
}
