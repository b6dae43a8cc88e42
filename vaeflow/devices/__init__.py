"""The machines, devices and CPU cores of a run. Imports nothing, so that its modules load one by one."""
