package repo

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Key files: NAME.key is the private key (Ed25519, PKCS #8 in PEM) encrypted
// with a passphrase by age's scrypt recipient, ASCII armoured, mode 0600;
// NAME.pub is the public key as TUF writes it, with its id.
const (
	keySuffix = ".key"
	pubSuffix = ".pub"
	maxKey    = 64 << 10

	// DefaultWork is age's own scrypt work factor: about a second and 256 MiB
	// for every guess.
	DefaultWork = 18
	minWork     = 10
	maxWork     = 20 // a gibibyte: more would be an attack on whoever opens it
)

// ErrNoKey says that a directory of keys does not have one.
var ErrNoKey = errors.New("no such key")

// ErrPassphrase says that a key does not open with the passphrase given.
var ErrPassphrase = errors.New("wrong passphrase")

// PublicKey is the public half of a key, as NAME.pub holds it.
type PublicKey struct {
	Name string        `json:"name"`
	ID   string        `json:"id"`
	Key  *metadata.Key `json:"key"`
}

// Passphrase asks for the passphrase of a key. confirm: it is for a new key,
// and a mistyped one would lose it.
type Passphrase func(key string, confirm bool) (string, error)

// Keys are the key files of a directory. Private keys are decrypted when they
// are first needed and kept for the life of the value.
type Keys struct {
	dir    string
	pass   Passphrase
	public []PublicKey
	opened map[string]ed25519.PrivateKey // by id
}

// OpenKeys reads the public halves of the keys in a directory. The directory
// may be empty or missing.
func OpenKeys(dir string, pass Passphrase) (*Keys, error) {
	k := &Keys{dir: dir, pass: pass, opened: map[string]ed25519.PrivateKey{}}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), pubSuffix)
		if !ok {
			continue
		}
		p, err := ReadPublicKey(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		p.Name = name // the file's name is what its holder calls it
		k.public = append(k.public, *p)
	}
	return k, nil
}

// Dir is where the keys are.
func (k *Keys) Dir() string { return k.dir }

// Public lists the keys by name.
func (k *Keys) Public() []PublicKey { return slices.Clone(k.public) }

// ReadPublicKey reads a NAME.pub file, for example of another holder.
func ReadPublicKey(file string) (*PublicKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	defer f.Close()
	data, err := readBounded(f, maxKey)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", file, err)
	}
	p, err := decodePublic(data)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", file, err)
	}
	return p, nil
}

func decodePublic(data []byte) (*PublicKey, error) {
	var s struct {
		Name string    `json:"name"`
		ID   string    `json:"id"`
		Key  *shapeKey `json:"key"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if s.Key == nil {
		return nil, fmt.Errorf("%w: key: missing", ErrMalformed)
	}
	if err := s.Key.check(s.ID); err != nil {
		return nil, fmt.Errorf("%w: key.%w", ErrMalformed, err)
	}
	if !isPart(s.Name) {
		return nil, fmt.Errorf("%w: name: %.40q", ErrMalformed, s.Name)
	}
	return &PublicKey{Name: s.Name, ID: s.ID, Key: &metadata.Key{
		Type: s.Key.Type, Scheme: s.Key.Scheme, Value: metadata.KeyVal{PublicKey: s.Key.Value.Public},
	}}, nil
}

// Generate makes a new key in the directory, encrypted with the passphrase
// that is asked for. It never overwrites one. work is the scrypt work factor:
// a guess costs 2^work.
func (k *Keys) Generate(name string, work int) (*PublicKey, error) {
	if !isPart(name) || len(name) > 100 {
		return nil, fmt.Errorf("make key: bad name %.40q", name)
	}
	if work < minWork || work > maxWork {
		return nil, fmt.Errorf("make key %s: work factor %d, not %d to %d", name, work, minWork, maxWork)
	}
	if err := k.makeDir(); err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	pass, err := k.pass(name, true)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	p, err := publicKey(name, public)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	sealed, err := sealKey(private, pass, work)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	pub, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	// The private half first: a public key alone could get into a repository.
	if err := createFile(filepath.Join(k.dir, name+keySuffix), sealed, 0o600); err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	if err := createFile(filepath.Join(k.dir, name+pubSuffix), append(pub, '\n'), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("make key %s: %w", name, err), removed(filepath.Join(k.dir, name+keySuffix)))
	}
	k.public = append(k.public, *p)
	k.opened[p.ID] = private
	return p, nil
}

func (k *Keys) makeDir() error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	st, err := os.Stat(k.dir)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is open to others (mode %04o): chmod 700 it", k.dir, st.Mode().Perm())
	}
	return nil
}

// createFile writes a file that must not exist yet.
func createFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, removed(path))
	}
	return syncDir(filepath.Dir(path))
}

func publicKey(name string, public ed25519.PublicKey) (*PublicKey, error) {
	key, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		return nil, err
	}
	id, err := key.ID()
	if err != nil {
		return nil, err
	}
	return &PublicKey{Name: name, ID: id, Key: key}, nil
}

func sealKey(private ed25519.PrivateKey, pass string, work int) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	to, err := age.NewScryptRecipient(pass)
	if err != nil {
		return nil, err
	}
	to.SetWorkFactor(work)
	var buf bytes.Buffer
	a := armor.NewWriter(&buf)
	w, err := age.Encrypt(a, to)
	if err != nil {
		return nil, err
	}
	if err := pem.Encode(w, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// openKey decrypts a key file whose passphrase costs at most 2^work to try. A
// wrong passphrase is ErrPassphrase.
func openKey(data []byte, pass string, work int) (ed25519.PrivateKey, error) {
	id, err := age.NewScryptIdentity(pass)
	if err != nil {
		return nil, err
	}
	id.SetMaxWorkFactor(work)
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), id)
	if err != nil {
		if n := (*age.NoIdentityMatchError)(nil); errors.As(err, &n) {
			return nil, ErrPassphrase
		}
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	text, err := readBounded(r, maxKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%w: no private key inside", ErrMalformed)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: a %T, not an Ed25519 key", ErrMalformed, key)
	}
	return private, nil
}

// has says whether the private half of a key is here.
func (k *Keys) has(id string) bool {
	if k == nil {
		return false
	}
	if k.opened[id] != nil {
		return true
	}
	p := k.byID(id)
	if p == nil {
		return false
	}
	_, err := os.Stat(k.file(p))
	return err == nil
}

func (k *Keys) byID(id string) *PublicKey {
	for i := range k.public {
		if k.public[i].ID == id {
			return &k.public[i]
		}
	}
	return nil
}

func (k *Keys) file(p *PublicKey) string { return filepath.Join(k.dir, p.Name+keySuffix) }

// signer decrypts a key. ErrNoKey when its private half is not here.
func (k *Keys) signer(id string) (signature.Signer, error) {
	if !k.has(id) {
		return nil, fmt.Errorf("key %.12s: %w", id, ErrNoKey)
	}
	private := k.opened[id]
	if private == nil {
		p := k.byID(id)
		var err error
		if private, err = k.unlock(p); err != nil {
			return nil, fmt.Errorf("open key %s: %w", k.file(p), err)
		}
		k.opened[id] = private
	}
	return signature.LoadED25519Signer(private)
}

func (k *Keys) unlock(p *PublicKey) (ed25519.PrivateKey, error) {
	f, err := os.Open(k.file(p))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read it (mode %04o): chmod 600 it", st.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, err
	}
	pass, err := k.pass(p.Name, false)
	if err != nil {
		return nil, err
	}
	private, err := openKey(data, pass, maxWork)
	if err != nil {
		return nil, err
	}
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: no public half", ErrMalformed)
	}
	if got, err := publicKey(p.Name, public); err != nil || got.ID != p.ID {
		return nil, fmt.Errorf("%w: it is not the key of %s%s", ErrMismatch, p.Name, pubSuffix)
	}
	return private, nil
}
