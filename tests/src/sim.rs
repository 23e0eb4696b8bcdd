//! A seeded simulation of the core against a plain model.
