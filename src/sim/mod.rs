//! The closed loop without the bus: a plant and its building management system in simulated time.
