//! `firstlight serve`: puts the appliance together, starts its services and stops them.
