"""TLS for one connection."""

import ssl

from pulse_bridge_mqtt.options import MqttOptions


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho drops the reference and leaves that to the collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of ssl
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def build_context(options: MqttOptions) -> ssl.SSLContext:
    """Read the certificates that the options name; anew for each connection, so that renewed ones are used.

    Raises:
        OSError: A file cannot be read or is no such certificate (`ssl.SSLError` is one).
    """
    context = ssl.create_default_context(cafile=None if options.tls_ca is None else str(options.tls_ca))
    context.sslsocket_class = _TidySocket
    if options.tls_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.tls_cert is not None:
        # The empty password makes an encrypted key an error; without one, OpenSSL would ask on the terminal.
        context.load_cert_chain(options.tls_cert, options.tls_key, password="")
    return context
