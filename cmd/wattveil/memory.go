package main

import "fmt"

// keepMemory keeps this process's memory, in which keys and readings pass, out of core
// dumps, and where the system can out of other processes' reach. Commands that hold keys
// call it before they read any. Root still sees everything, and so does swap.
func keepMemory() error {
	if err := refuseDumps(); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	return nil
}
