//! Grouped by what they are about; the case IDs are those of the project's list of cases.

mod conditions;
mod deadlines;
mod drains;
mod flows;
mod gates;
mod gone;
mod identity;
mod operators;
mod publishing;
mod rebalance;
mod records;
mod slices;
mod topology;
