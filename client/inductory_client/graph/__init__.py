"""What serving needs of torch: split, canonical form, keys, factors, load. Imported only when used."""
