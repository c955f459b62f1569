"""What people see: pages made on the server, without scripts and without anything from elsewhere."""
