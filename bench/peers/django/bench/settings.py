"""Django REST Framework as usual: ModelViewSet, simplejwt, numbered pages, a throttle per user in Redis."""
import os
from datetime import timedelta
from urllib.parse import unquote, urlparse

database = urlparse(os.environ['DATABASE_URL'])
SECRET_KEY = os.environ['JWT_SECRET']
DEBUG = False
ALLOWED_HOSTS = ['*']
ROOT_URLCONF = 'bench.urls'
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = 'UTC'
DEFAULT_AUTO_FIELD = 'django.db.models.AutoField'
INSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth', 'rest_framework', 'bench']
# Those of startproject, but for sessions, messages and CSRF, which an API with tokens does not need.
MIDDLEWARE = [
    'django.middleware.security.SecurityMiddleware',
    'django.middleware.common.CommonMiddleware',
]
AUTH_USER_MODEL = 'bench.User'
PASSWORD_HASHERS = ['bench.models.Bcrypt10']
DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.postgresql',
        'NAME': database.path[1:],
        'USER': database.username,
        'PASSWORD': unquote(database.password),
        'HOST': database.hostname,
        'PORT': database.port,
        'CONN_MAX_AGE': None,
    }
}
CACHES = {'default': {'BACKEND': 'django_redis.cache.RedisCache', 'LOCATION': os.environ['REDIS_URL'] + '/1'}}
REST_FRAMEWORK = {
    'DEFAULT_AUTHENTICATION_CLASSES': ['rest_framework_simplejwt.authentication.JWTAuthentication'],
    'DEFAULT_PERMISSION_CLASSES': ['rest_framework.permissions.IsAuthenticated'],
    'DEFAULT_RENDERER_CLASSES': ['rest_framework.renderers.JSONRenderer'],
    'DEFAULT_PARSER_CLASSES': ['rest_framework.parsers.JSONParser'],
    'DEFAULT_THROTTLE_CLASSES': ['rest_framework.throttling.UserRateThrottle'],
    'DEFAULT_THROTTLE_RATES': {'user': '10000000/min'},
    'DEFAULT_PAGINATION_CLASS': 'rest_framework.pagination.PageNumberPagination',
    'PAGE_SIZE': 20,
}
SIMPLE_JWT = {
    'ALGORITHM': 'HS256',
    'SIGNING_KEY': SECRET_KEY,
    'USER_ID_CLAIM': 'user_id',
    'ACCESS_TOKEN_LIFETIME': timedelta(minutes=15),
    'UPDATE_LAST_LOGIN': False,
}
LOGGING_CONFIG = None
