package catalog

import "time"

// Override lets a release that ejects reach machines that are enrolled: by
// name, with somebody who answers for it.
type Override struct {
	Release  ReleaseID `json:"release"`
	Content  Digest    `json:"content"` // of the release that was previewed
	Approver string    `json:"approver"`
	Reason   string    `json:"reason"`
	Machines []string  `json:"machines"` // sorted: those, and no others
	Accepted Preview   `json:"accepted"` // what the approver saw
	Preview  Digest    `json:"preview"`  // its digest, which the approver signed off
	At       time.Time `json:"at"`
	Until    time.Time `json:"until,omitzero"`
	Void     string    `json:"void,omitempty"` // why it no longer holds
}
