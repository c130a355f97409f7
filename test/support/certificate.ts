/**
 * A self-signed certificate for localhost and 127.0.0.1, for servers in tests. Its key is public. Made by:
 * openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem
 * -days 36500   -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1'
 */
export const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1uvd/WrnmtoIyYVp
yWWoz8S71eTpjOa0nNE/y+juk4ihRANCAATKZh2yLlH6JFEiqWBc62b9o/2PxzT+
n3ShPCNRrcJeQLoipFIsS2IkowGafpOoDzN1xvO6zor+9QOTxmovoN9w
-----END PRIVATE KEY-----`

export const cert = `-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUSL1f1JjJ14mg35ozEapS/e2kwUAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTAwNDA1M1oYDzIxMjYxMTAx
MDA0MDUzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATKZh2yLlH6JFEiqWBc62b9o/2PxzT+n3ShPCNRrcJeQLoipFIsS2Ik
owGafpOoDzN1xvO6zor+9QOTxmovoN9wo28wbTAdBgNVHQ4EFgQUqiQkAvI+cftS
y4Rac+9vBN06FjUwHwYDVR0jBBgwFoAUqiQkAvI+cftSy4Rac+9vBN06FjUwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAIYaPe87/szUx2IJJ2qi2fdf/JNbau+8FZX5Q06P6VoOAiEA
3pqorWWOr1Dt1ZY+CAVY4UTBpKOHu7X2T8ysGdAbYqQ=
-----END CERTIFICATE-----`
