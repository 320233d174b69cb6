"""iSCSI targets: the driver contract, the tgt driver, and the supervision of tgtd."""
