"""The simulated AWS for laptops and CI."""
