/* Signatures of records, by vectors of RFC 8032, 7.1, and by keys and signatures that OpenSSL made. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on

#include <gnutls/abstract.h>
#include <string.h>

#include "base/err.h"
#include "base/sha256.h"
#include "quic/quic.h"

#define NOW 1800000000u

static const char ed_pem[] = /* the secret key of RFC 8032, TEST 2 */
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n"
    "-----END PRIVATE KEY-----\n"
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBLjCB4aADAgECAhQXYMNnynIt0zs0Mo3Q3GJ+SIWIfTAFBgMrZXAwDDEKMAgG\n"
    "A1UEAwwBdDAgFw0yNjExMjQxOTE3MDNaGA8yMTI2MTAzMTE5MTcwM1owDDEKMAgG\n"
    "A1UEAwwBdDAqMAUGAytlcAMhAD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq\n"
    "9GYMo1MwUTAdBgNVHQ4EFgQUE/dyZp4VKuamKmCjSIpvKX0GE90wHwYDVR0jBBgw\n"
    "FoAUE/dyZp4VKuamKmCjSIpvKX0GE90wDwYDVR0TAQH/BAUwAwEB/zAFBgMrZXAD\n"
    "QQC1/QX1K4LQkhU/V3x03K3w0V+MF4r5dkkrB+xgnzc+ucbalS2DRUeQOy1lSGXF\n"
    "fI0qhPm7sSPFAokfa5rFm6wB\n"
    "-----END CERTIFICATE-----\n";
static const char ec_pem[] = /* P-256 */
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzMuR2D2/f9g19dao\n"
    "Q3ef+uC6CmauA8K1/3T5wu8lWVWhRANCAATFZdmNtYWXhpgmabLlBRpRScg2z90e\n"
    "zD4biBQs5YijDUpIzzt8zB2KWlnf39dT7yVDNLakdcy3yaZXSoltw28C\n"
    "-----END PRIVATE KEY-----\n"
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBcDCCARWgAwIBAgIUUwaJHvhFLMIF825sgV0pJTMQp8QwCgYIKoZIzj0EAwIw\n"
    "DDEKMAgGA1UEAwwBdDAgFw0yNjExMjQxOTE2MTdaGA8yMTI2MTAzMTE5MTYxN1ow\n"
    "DDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMVl2Y21hZeG\n"
    "mCZpsuUFGlFJyDbP3R7MPhuIFCzliKMNSkjPO3zMHYpaWd/f11PvJUM0tqR1zLfJ\n"
    "pldKiW3DbwKjUzBRMB0GA1UdDgQWBBQf883DXoPtIHI3vEELpVuTjc+gUzAfBgNV\n"
    "HSMEGDAWgBQf883DXoPtIHI3vEELpVuTjc+gUzAPBgNVHRMBAf8EBTADAQH/MAoG\n"
    "CCqGSM49BAMCA0kAMEYCIQCkGFPGHN945HycQ3Hbd7Xn6xIDwEYVwHHIBu0MqZxc\n"
    "QgIhALg17grLqXwZod7KpvM4Tb9JllrOeGV0v3qJJ0uVUxR0\n"
    "-----END CERTIFICATE-----\n";
static const char rsa_pem[] = /* RSA, 2,048 bits */
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCrAuCcDER6jSMz\n"
    "sC0Q0sGqyY6m8uJzkYtxZhC5Kqmjqc48/NrUh3nIweIpVP1UNdZQTs5Gg5RjRz/f\n"
    "dhgFJmeh4/oj5VkhrBCW7Eq9zaTyHSKTBjdCbJRGGip1bqUywObdsqFA+bXemBQs\n"
    "307SV5RF4Gwar6f31NVjRzwCvyAfM0vRN6s08DKN0R1NH/p/Ekmbm1kcBHKZABbo\n"
    "mF9NZIi2xEadPMqaxWl0CTEOJpwo+AOrPWKGlIsAxhF9DINeSii5PH1nmbN5OOed\n"
    "vVoMxrH41kXsDsq2H5yR7FbT17SUGwinjZeAhG4ekxjdQcwt0q6ew2OFTK1ry0jB\n"
    "FwTUN1tTAgMBAAECggEAD22yupfUV8nC/fqF9++wmSPjhfloAW0FcevEIRVekub5\n"
    "HE4XWh3s5VyX3T3Caz+kmcAHL5wKBH9c0Mba4CASZBJpTD+SMCdrcCPz+Rxqcya6\n"
    "XbeT8oWERrAJ2gI4NXq4ExL28tTbAGQJ5SOyfOfgEM8KDpazDN97u9MlI8qyVbSJ\n"
    "Abik6+XtSvhK3pzOcOyCMvpf21GszGYA0ekxBjpm0zNZ51HNLIcPGqpb3uSTCE0T\n"
    "6zoTHOMBsVja1Ub40IrSDkbrujP4FVbH3PKGywSR+9f0jPyw0Hwiu4lJUk4NN6DI\n"
    "PnE0/27kYJ3Qu3Wq1LsW7lu0RkjwL13Q6VJYEbu7lQKBgQDxwB/negGkE5HB98s4\n"
    "qgA0heWLb1aSsb1E49eI3e6seVROCc3ngszjjL193rrTEcPlVvPfwYT5UzdWggfx\n"
    "8pGjg5s+H4gPONapXERygXgmuFdQ7gcYAvuM7OCeUxdzpmSv2iVDxSqzASd57SyH\n"
    "kBomnnYEMqd5arqt7RkOilbqRwKBgQC1F1acs2aF89r55N+aUYiHKLW6cl/kbdOu\n"
    "dEARThK/aJ4/Ct3fu4kPD9TkdXo03rkCCf2Lj4csLOL0yNQC3+oYVxhITbKX1WvF\n"
    "zsEEgNxlijuUOy0Vqfftl9boyIvv9d11O/V9XByBM3M1aXprBBYO1nsBbiNctz1e\n"
    "wbftAtcAlQKBgQDLEA98dx4zvQBdBpBcK2f6tlHG2qHEnKmX2S4tWAXoOA3ZcyDS\n"
    "iyshJBHzTYhuTOjYlj5JQBs69mxwLM8RqygsShq3hvLZnmupXMhdymSrWYJ2h0nM\n"
    "II09padTNgZn7Wd70ugkUdR5Acov/0m9IQzmTYpiIk5MjZr7B0JZ1VgGdwKBgFY2\n"
    "JiWzwrtCvJz7OPhemIDAAMQib0RwhLYo4ddbM9GsHKomojpBLZ7eCpw40VUaMzml\n"
    "R++JBPEi7WlbspMrxmaQEB9b3goqsIQbSgi60DIG/RY0leIaaM3T25w23Wf/xM5r\n"
    "HRPxJiDcPZzP+le4OkgWE7k6ldst4SmbT9Sl5XWBAoGAY+L/eBhYsakbpVRhkA4B\n"
    "pDAhK+71vDZht/JdEWDO00waJVvjzTqTlR97TX2cPxwCxWowGpaxSCXqoHeFDqQO\n"
    "bClmF8w/DWRUilzghh7pj4n9ImAVxdWQrXppYJ5CO4WOZKKmUWyNereqxr2vx/9g\n"
    "Hgp7OtjjHh103dSHKaWzDwo=\n"
    "-----END PRIVATE KEY-----\n"
    "-----BEGIN CERTIFICATE-----\n"
    "MIIC+zCCAeOgAwIBAgIUJB8dbmpQ4rOpA70fgJv43Yj4RkMwDQYJKoZIhvcNAQEL\n"
    "BQAwDDEKMAgGA1UEAwwBdDAgFw0yNjExMjQxOTE2MThaGA8yMTI2MTAzMTE5MTYx\n"
    "OFowDDEKMAgGA1UEAwwBdDCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEB\n"
    "AKsC4JwMRHqNIzOwLRDSwarJjqby4nORi3FmELkqqaOpzjz82tSHecjB4ilU/VQ1\n"
    "1lBOzkaDlGNHP992GAUmZ6Hj+iPlWSGsEJbsSr3NpPIdIpMGN0JslEYaKnVupTLA\n"
    "5t2yoUD5td6YFCzfTtJXlEXgbBqvp/fU1WNHPAK/IB8zS9E3qzTwMo3RHU0f+n8S\n"
    "SZubWRwEcpkAFuiYX01kiLbERp08yprFaXQJMQ4mnCj4A6s9YoaUiwDGEX0Mg15K\n"
    "KLk8fWeZs3k45529WgzGsfjWRewOyrYfnJHsVtPXtJQbCKeNl4CEbh6TGN1BzC3S\n"
    "rp7DY4VMrWvLSMEXBNQ3W1MCAwEAAaNTMFEwHQYDVR0OBBYEFDnLtY8HoZq35hNh\n"
    "GtBqynfXLAgxMB8GA1UdIwQYMBaAFDnLtY8HoZq35hNhGtBqynfXLAgxMA8GA1Ud\n"
    "EwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADggEBAG5FvOpimZXHiXEeQocyHv8C\n"
    "gE2T6LGuzsoRuhDd7jxQwfLC9ORksoqMutfWVlY8Qr2zlE3hCn3F2o1FZKimZWmk\n"
    "8E/b0yaZ5Czma+ZHfusA95qpYuSgs0La/O0QvISVqUKarvcyuQ9f71Rrirfaa9zy\n"
    "BkJfYFkZQtdB9b2Gn2ekwYQLL7ci1JYUtlUn3cyKVYivv7albEbP+9cA6ou0u5rJ\n"
    "uc8pa8VGbOtOSRfpOksyJR9UBo3ivYTu7F2fvlFFM0qLULOG2p8WGufkxjX6Eqjz\n"
    "mZG2CrKjqODMQTup2hT46IwiNRCjl/C6qf0XII156a7ABdwci5p2q8nymBua3k4=\n"
    "-----END CERTIFICATE-----\n";
static const char ec_spki[] =
    "3059301306072a8648ce3d020106082a8648ce3d03010703420004c565d98db5859786982669b2e5051a5149c836cfdd1ecc3e1b88142ce588a3"
    "0d4a48cf3b7ccc1d8a5a59dfdfd753ef254334b6a475ccb7c9a6574a896dc36f02";
static const char ec_sig[] =
    "30450221008df31072091e21868adb49227ff89a1c2bac7b37ee929da41cc1f23a1850424b0220341c0336f6cb860633212551f8c6678b39b4ff"
    "5d3c10136e42c804de0c1daf65";
static const char rsa_spki[] =
    "30820122300d06092a864886f70d01010105000382010f003082010a0282010100ab02e09c0c447a8d2333b02d10d2c1aac98ea6f2e273918b71"
    "6610b92aa9a3a9ce3cfcdad48779c8c1e22954fd5435d6504ece46839463473fdf7618052667a1e3fa23e55921ac1096ec4abdcda4f21d229306"
    "37426c94461a2a756ea532c0e6ddb2a140f9b5de98142cdf4ed2579445e06c1aafa7f7d4d563473c02bf201f334bd137ab34f0328dd11d4d1ffa"
    "7f12499b9b591c0472990016e8985f4d6488b6c4469d3cca9ac5697409310e269c28f803ab3d6286948b00c6117d0c835e4a28b93c7d6799b379"
    "38e79dbd5a0cc6b1f8d645ec0ecab61f9c91ec56d3d7b4941b08a78d9780846e1e9318dd41cc2dd2ae9ec363854cad6bcb48c11704d4375b5302"
    "03010001";
static const char rsa_sig[] =
    "32a9df02819dcc857ffb927ba404f5157ffe107fd1ab747c4307d93252a7904bc5761a977979d80a7ed60f41aceb17854a0c23c137f946fdcb7b"
    "1a84428c4ee7684eb1c387500f8d721f83a935d9dfd8b362d73dfb4b0c13fbeeaf6af1005c0755fe273d2d78c81b651e4a1af32fddae15989e3e"
    "489218a658b8297b66dd096a26faa3f9376c26d35b8add7b34057f9757ca79b13db9a34a8f2632eee04de3039e457320efd8bbef244d1ff11780"
    "168a1c7a2656826b68387abcf2fe4bacb9d4e51d6a28d30ccef2870f02591b1264e03b57330f688eb8274769ad93621cbe15ed658c7de4e6c4cf"
    "f0326566e080172ff5297237d4329394b6c25f8d9fb45d08";

static size_t unhex(const char *hex, uint8_t *ret) {
  size_t n = strlen(hex) / 2;
  for (size_t i = 0; i < n; i++) {
    unsigned v = 0;
    for (int k = 0; k < 2; k++)
      v = v * 16 + (unsigned)(hex[2 * i + k] <= '9' ? hex[2 * i + k] - '0' : hex[2 * i + k] - 'a' + 10);
    ret[i] = (uint8_t)v;
  }
  return n;
}

static void test_rfc8032(void **st) {
  (void)st;
  static const char *const v[3][3] = {/* public key, message, signature: TEST 1 to 3 */
                                      {"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
                                       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e397"
                                       "01cf9b46bd25bf5f0595bbe24655141438e7a100b"},
                                      {"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
                                       "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f361"
                                       "3d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
                                      {"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
                                       "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f76"
                                       "0984dc6594a7c15e9716ed28dc027beceea1ec40a"}};
  for (int i = 0; i < 3; i++) {
    uint8_t spki[64], msg[64], sig[64];
    size_t head = unhex("302a300506032b6570032100", spki), n = head + unhex(v[i][0], spki + head);
    struct slice m = {msg, unhex(v[i][1], msg)}, s = {sig, unhex(v[i][2], sig)};
    struct id id, want;
    assert_int_equal(quic_verify(slice_of(spki, n), m, s, &id), 0);
    sha256_of(slice_of(spki, n), want.b);
    assert_true(id_eq(&id, &want));
    for (size_t k = 0; k < s.n; k += 7) {
      sig[k] ^= 1;
      assert_int_equal(quic_verify(slice_of(spki, n), m, s, &id), MACULA_BAD_SIGNATURE);
      sig[k] ^= 1;
    }
    assert_int_equal(quic_verify(slice_of(spki, n), slice_str("other"), s, &id), MACULA_BAD_SIGNATURE);
    for (size_t k = 0; k < n; k++) assert_int_equal(quic_verify(slice_of(spki, k), m, s, &id), MACULA_BAD_SIGNATURE);
    for (size_t k = 0; k < s.n; k++)
      assert_int_equal(quic_verify(slice_of(spki, n), m, slice_of(sig, k), &id), MACULA_BAD_SIGNATURE);
    spki[head + 3] ^= 1;
    assert_int_equal(quic_verify(slice_of(spki, n), m, s, &id), MACULA_BAD_SIGNATURE);
  }
}

static void test_sha256(void **st) {
  (void)st;
  struct id h; /* FIPS 180-4, the example of one block */
  char hex[ID_HEX_LEN + 1];
  sha256_of(slice_str("abc"), h.b);
  id_hex(&h, hex);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_sign(void **st) {
  (void)st;
  const char *pems[] = {ed_pem, ec_pem, rsa_pem};
  for (int i = 0; i < 3; i++) {
    struct quic_identity *id;
    const char *why = "";
    assert_int_equal(quic_identity_parse(slice_str(pems[i]), SLICE_NONE, NOW, &id, &why), 0);
    uint8_t sig[QUIC_SIGNATURE_MAX];
    size_t n = 0;
    struct id who;
    assert_int_equal(quic_identity_sign(id, slice_of("r", 1), sig, &n), 0);
    assert_int_equal(quic_verify(quic_identity_spki(id), slice_of("r", 1), slice_of(sig, n), &who), 0);
    assert_true(id_eq(&who, quic_identity_id(id)));
    assert_int_equal(quic_verify(quic_identity_spki(id), slice_of("s", 1), slice_of(sig, n), &who), MACULA_BAD_SIGNATURE);
    if (i == 0) { /* Ed25519 signatures are determined: that of TEST 2 */
      uint8_t want[64];
      assert_int_equal(unhex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c3"
                             "87b2eaeb4302aeeb00d291612bb0c00",
                             want),
                       n);
      assert_int_equal(quic_identity_sign(id, slice_of("\x72", 1), sig, &n), 0);
      assert_memory_equal(sig, want, 64);
    }
    quic_identity_unref(id);
  }
}

static void test_openssl(void **st) {
  (void)st;
  const char *v[2][2] = {{ec_spki, ec_sig}, {rsa_spki, rsa_sig}};
  for (int i = 0; i < 2; i++) {
    uint8_t spki[512], sig[512];
    size_t n = unhex(v[i][0], spki), k = unhex(v[i][1], sig);
    struct id who;
    assert_int_equal(quic_verify(slice_of(spki, n), slice_str("macula"), slice_of(sig, k), &who), 0);
    sig[k - 1] ^= 1;
    assert_int_equal(quic_verify(slice_of(spki, n), slice_str("macula"), slice_of(sig, k), &who), MACULA_BAD_SIGNATURE);
    sig[k - 1] ^= 1;
    assert_int_equal(quic_verify(slice_of(spki, n), slice_str("maculb"), slice_of(sig, k), &who), MACULA_BAD_SIGNATURE);
  }
}

static void test_generated(void **st) {
  (void)st;
  struct quic_identity *a, *b;
  assert_int_equal(quic_identity_generate(&a), 0);
  assert_int_equal(quic_identity_generate(&b), 0);
  uint8_t sig[QUIC_SIGNATURE_MAX];
  size_t n;
  struct id who;
  assert_int_equal(quic_identity_sign(a, slice_str("batch"), sig, &n), 0);
  assert_int_equal(n, 64);
  assert_int_equal(quic_identity_spki(a).n, 44);
  assert_int_equal(quic_verify(quic_identity_spki(a), slice_str("batch"), slice_of(sig, n), &who), 0);
  assert_true(id_eq(&who, quic_identity_id(a)));
  assert_int_equal(quic_verify(quic_identity_spki(b), slice_str("batch"), slice_of(sig, n), &who), MACULA_BAD_SIGNATURE);
  assert_int_equal(quic_verify(SLICE_NONE, SLICE_NONE, SLICE_NONE, &who), MACULA_BAD_SIGNATURE);
  uint8_t big[QUIC_SIGNATURE_MAX + 1] = {0};
  assert_int_equal(quic_verify(quic_identity_spki(a), slice_str("batch"), slice_of(big, sizeof big), &who),
                   MACULA_BAD_SIGNATURE);
  quic_identity_unref(a);
  quic_identity_unref(b);
}

/* PEM of a new key, and of a certificate that it has signed. */
static void made_pem(gnutls_pk_algorithm_t kind, unsigned bits, char *ret, size_t cap) {
  gnutls_x509_privkey_t key;
  gnutls_x509_crt_t crt;
  size_t n = cap, m;
  assert_int_equal(gnutls_x509_privkey_init(&key), 0);
  assert_int_equal(gnutls_x509_crt_init(&crt), 0);
  assert_int_equal(gnutls_x509_privkey_generate(key, kind, bits, 0), 0);
  assert_int_equal(gnutls_x509_crt_set_version(crt, 3), 0);
  assert_int_equal(gnutls_x509_crt_set_serial(crt, "1", 1), 0);
  assert_int_equal(gnutls_x509_crt_set_activation_time(crt, NOW - 1), 0);
  assert_int_equal(gnutls_x509_crt_set_expiration_time(crt, NOW + 1), 0);
  assert_int_equal(gnutls_x509_crt_set_key(crt, key), 0);
  assert_int_equal(
      gnutls_x509_crt_sign2(crt, crt, key, kind == GNUTLS_PK_EDDSA_ED448 ? GNUTLS_DIG_SHAKE_256 : GNUTLS_DIG_SHA512, 0), 0);
  assert_int_equal(gnutls_x509_privkey_export_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, ret, &n), 0);
  m = cap - n;
  assert_int_equal(gnutls_x509_crt_export(crt, GNUTLS_X509_FMT_PEM, ret + n, &m), 0);
  ret[n + m] = 0;
  gnutls_x509_privkey_deinit(key);
  gnutls_x509_crt_deinit(crt);
}

/* A key that signs for longer than a turn may take is refused, with the command that makes another. */
static void test_large_keys(void **state) {
  static const struct {
    gnutls_pk_algorithm_t kind;
    unsigned bits;
    bool taken;
  } keys[] = {{GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP384R1), true},
              {GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP521R1), false},
              {GNUTLS_PK_EDDSA_ED448, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_ED448), false},
              {GNUTLS_PK_RSA, 3072, true},
              {GNUTLS_PK_RSA, 3104, false}};
  char pem[16384];
  (void)state;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    struct quic_identity *id = NULL;
    const char *why = "";
    made_pem(keys[i].kind, keys[i].bits, pem, sizeof pem - 1);
    int err = quic_identity_parse(slice_str(pem), SLICE_NONE, NOW, &id, &why);
    assert_int_equal(err, keys[i].taken ? 0 : MACULA_CERTIFICATE_INVALID);
    if (!keys[i].taken) assert_non_null(strstr(why, "make one with: openssl req -x509 "));
    quic_identity_unref(id);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_large_keys), cmocka_unit_test(test_rfc8032),
                                     cmocka_unit_test(test_sha256),     cmocka_unit_test(test_sign),
                                     cmocka_unit_test(test_openssl),    cmocka_unit_test(test_generated)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
