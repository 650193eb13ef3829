package agent_test

import (
	"strings"
	"testing"
	"time"

	"hotpatch/internal/agent"
	"hotpatch/internal/catalog"
)

func TestPolicyHasTheDocumentedDefaults(t *testing.T) {
	p, err := agent.ParsePolicy([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(p.Assess.Every) != time.Hour || time.Duration(p.Soak) != 10*time.Minute || p.Channel != "stable" || p.Reboot {
		t.Errorf("%+v", p)
	}
	if r := p.Rules(); r.Hotpatches != catalog.AtOnce || r.Disk != catalog.DiskFirst || len(r.Windows) != 0 {
		t.Errorf("%+v", r)
	}
}

// The example that is installed with the package is a policy, and says what the
// defaults are.
func TestExamplePolicyIsOneAndHasTheDefaults(t *testing.T) {
	example, err := agent.ReadPolicy("../../packaging/policy.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(example.Rules().Windows) != 1 {
		t.Errorf("%d windows", len(example.Rules().Windows))
	}
	short, err := agent.ParsePolicy([]byte("repository = \"https://repo.example/debian\""))
	if err != nil {
		t.Fatal(err)
	}
	if example.Assess != short.Assess || example.Soak != short.Soak || example.Wait != short.Wait || example.PerItem != short.PerItem ||
		example.Hooks != short.Hooks || example.Reboot != short.Reboot || example.Channel != short.Channel ||
		example.Rules().Hotpatches != short.Rules().Hotpatches || example.Rules().Disk != short.Rules().Disk {
		t.Errorf("the example says %+v, the defaults are %+v", example, short)
	}
}

func TestBadPolicyIsRefusedByItsFieldOrLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "repository: not given",
		"repository = \"ftp://x\"":             "repository: \"ftp://x\"",
		plain + "\nrebot = true":               "line 2: there is no field \"rebot\"",
		plain + "\nreboot = \"yes\"":           "line 2",
		"repository = ":                        "line 1",
		plain + "\nsoak = \"ten minutes\"":     "no length of time",
		plain + "\nhotpatches = \"in-window\"": "there is no [[window]]",
		plain + "\nhotpatches = \"never\"":     "hotpatches: \"never\"",
		plain + "\ndisk = \"both\"":            "disk: \"both\"",
		plain + "\n[assess]\nevery = \"1ms\"":  "assess.every",
		plain + "\n[metrics]\nlisten = \"x\"":  "metrics.listen",
		plain + "\n[[window]]\nname = \"w\"":   "window \"w\"",
	} {
		if _, err := agent.ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte(inWindow))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := agent.ParsePolicy(text)
		if err == nil && (p.Repository == "" || p.Assess.Every <= 0) {
			t.Fatalf("%+v", p)
		}
	})
}
