"""What load will come: per profile, at the horizons that start-up times ask for, with quantiles one can rely on."""
