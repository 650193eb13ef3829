/* A host of libcrypto 3: each round hashes, encrypts and decrypts, signs and verifies. */
#include <stddef.h>
#include <string.h>
#include "host.h"

extern int EVP_Q_digest(void *, const char *, const char *, const void *, size_t, unsigned char *, size_t *);
extern void *EVP_CIPHER_CTX_new(void);
extern void EVP_CIPHER_CTX_free(void *);
extern const void *EVP_aes_256_gcm(void);
extern int EVP_CipherInit_ex(void *, const void *, void *, const unsigned char *, const unsigned char *, int);
extern int EVP_CipherUpdate(void *, unsigned char *, int *, const unsigned char *, int);
extern void *EVP_PKEY_Q_keygen(void *, const char *, const char *, ...);
extern void EVP_PKEY_free(void *);
extern void *EVP_MD_CTX_new(void);
extern void EVP_MD_CTX_free(void *);
extern const void *EVP_sha256(void);
extern int EVP_DigestSignInit(void *, void **, const void *, void *, void *);
extern int EVP_DigestSign(void *, unsigned char *, size_t *, const unsigned char *, size_t);
extern int EVP_DigestVerifyInit(void *, void **, const void *, void *, void *);
extern int EVP_DigestVerify(void *, const unsigned char *, size_t, const unsigned char *, size_t);

static void hash(void)
{
	static const unsigned char abc[4] = { 0xba, 0x78, 0x16, 0xbf }; /* SHA-256("abc"), FIPS 180-2 */
	unsigned char md[64];
	size_t n = sizeof md;

	if (!EVP_Q_digest(NULL, "SHA256", NULL, "abc", 3, md, &n) || n != 32 || memcmp(md, abc, 4) != 0)
		wrong("SHA-256");
}

static void encrypt(unsigned seed)
{
	unsigned char key[32] = { (unsigned char)seed }, iv[12] = { 1 }, in[600], mid[600], out[600];
	void *e = EVP_CIPHER_CTX_new(), *d = EVP_CIPHER_CTX_new();
	int n = 0, m = 0;

	memset(in, (int)seed, sizeof in);
	if (!EVP_CipherInit_ex(e, EVP_aes_256_gcm(), NULL, key, iv, 1) || !EVP_CipherUpdate(e, mid, &n, in, sizeof in) ||
	    !EVP_CipherInit_ex(d, EVP_aes_256_gcm(), NULL, key, iv, 0) || !EVP_CipherUpdate(d, out, &m, mid, n) ||
	    m != sizeof in || memcmp(in, out, sizeof in) != 0 || memcmp(in, mid, sizeof in) == 0)
		wrong("AES-256-GCM");
	EVP_CIPHER_CTX_free(e);
	EVP_CIPHER_CTX_free(d);
}

static void sign(unsigned seed)
{
	unsigned char text[64], sig[256];
	size_t n = sizeof sig;
	void *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	void *s = EVP_MD_CTX_new(), *v = EVP_MD_CTX_new();

	memset(text, (int)seed, sizeof text);
	if (!key || EVP_DigestSignInit(s, NULL, EVP_sha256(), NULL, key) != 1 || EVP_DigestSign(s, sig, &n, text, sizeof text) != 1)
		wrong("ECDSA signing");
	if (EVP_DigestVerifyInit(v, NULL, EVP_sha256(), NULL, key) != 1 || EVP_DigestVerify(v, sig, n, text, sizeof text) != 1)
		wrong("ECDSA verifying");
	EVP_MD_CTX_free(s);
	EVP_MD_CTX_free(v);
	EVP_PKEY_free(key);
}

static void round_of(int worker, unsigned n)
{
	hash();
	encrypt(n + (unsigned)worker);
	if (n % 8 == 0)
		sign(n);
}
