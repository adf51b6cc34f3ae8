// Signs what TestSignedAsOthersSign signs, with somebody else's implementation of RFC 9421:
//
//	npm install http-message-signatures@1.0.6
//	node signature.mjs > signature.golden
//
// Ed25519 always makes the same signature, so ours must be this one, byte for byte. The key
// is test-key-ed25519 of RFC 9421, appendix B.1.4.
import { createHash, createPrivateKey } from 'node:crypto';
import { createSigner, httpbis } from 'http-message-signatures';

const key = createPrivateKey(`-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----`);
const body = '{"hub":"hub.example/ledger"}';
const signed = await httpbis.signMessage({
  key: createSigner(key, 'ed25519', 'poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U'),
  name: 'wattveil',
  fields: ['@method', '@target-uri', 'content-type', 'content-digest'],
  params: ['created', 'keyid', 'alg', 'tag'],
  paramValues: { created: new Date(1618884473000), tag: 'wattveil-notification' },
}, {
  method: 'POST',
  url: 'https://receiver.example:8443/hook?of=adviser&x=%20y',
  headers: {
    'content-type': 'application/json',
    'content-digest': `sha-256=:${createHash('sha256').update(body).digest('base64')}:`,
  },
});
for (const name of ['content-digest', 'Signature-Input', 'Signature']) {
  console.log(`${name.toLowerCase()}: ${signed.headers[name]}`);
}
