// URLs are relative to the page, which a proxy may show below a path. No validator is asked: the document never
// leaves this host.
window.SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true,
})
